//! Which addresses exist, how they are spelt, and which methods they answer.

use std::collections::{BTreeSet, HashMap};

use poem::{
    Request,
    http::{HeaderValue, Uri, uri::PathAndQuery},
};
use poem_openapi::OpenApi;

/// What is known of a route.
pub struct Known {
    /// Its path as documented.
    pub path: String,
    /// Value of its Allow header.
    pub allow: HeaderValue,
}

/// The registered routes by the router's pattern. The framework registers every path without its trailing slash and
/// with numbered parameters, whatever its handler says.
pub struct Paths(HashMap<String, Known>);

impl Paths {
    /// The routes of `A`, and others with their methods.
    pub fn new<A: OpenApi>(others: &[(&str, &str)]) -> Self {
        let mut known = HashMap::new();
        for path in A::meta().into_iter().flat_map(|api| api.paths) {
            let methods = path.operations.iter().map(|operation| operation.method.to_string()).collect();
            known.extend(entry(&path.path, documented(&path.path), methods));
        }
        for (path, methods) in others {
            let methods = methods.split(", ").map(str::to_owned).collect();
            known.extend(entry(path, (*path).to_owned(), methods));
        }
        Self(known)
    }

    pub fn get(&self, pattern: &str) -> Option<&Known> {
        self.0.get(pattern)
    }
}

/// Load balancers and orchestrators ask these by address and over plain http, every second or so.
pub fn is_health(path: &str) -> bool {
    path == "/health" || path.starts_with("/health/")
}

/// The pages for admins and auditors, which live by a cookie.
pub fn is_console(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

fn entry(path: &str, documented: String, mut methods: BTreeSet<String>) -> Option<(String, Known)> {
    if methods.contains("GET") {
        methods.insert("HEAD".to_owned());
    }
    let allow = HeaderValue::from_str(&methods.into_iter().collect::<Vec<_>>().join(", ")).ok()?;
    Some((pattern(path), Known { path: documented, allow }))
}

/// `/a/{id}/b` as the router knows it: `/a/:param0/b`.
fn pattern(path: &str) -> String {
    let mut parameters = 0;
    let segments = path.split('/').map(|segment| {
        if segment.starts_with('{') {
            parameters += 1;
            format!(":param{}", parameters - 1)
        } else {
            segment.to_owned()
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// The spelling clients are told: resources of the API end in a slash, as those of the replaced service do.
pub fn documented(path: &str) -> String {
    if path.starts_with("/api/") && !path.ends_with('/') { format!("{path}/") } else { path.to_owned() }
}

/// Rewrites the request's path to the registered spelling: one trailing slash is taken away, never more.
pub fn normalise(request: &mut Request) {
    let Some(path) = request.uri().path().strip_suffix('/').filter(|path| !path.is_empty()) else { return };
    if let Some(uri) = with_path(request.uri(), path) {
        *request.uri_mut() = uri;
    }
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(target: &'static str) -> String {
        let mut request = Request::builder().uri(Uri::from_static(target)).finish();
        normalise(&mut request);
        request.uri().to_string()
    }

    #[test]
    fn exactly_one_trailing_slash_is_taken_away() {
        assert_eq!(normalised("/api/auth/"), "/api/auth");
        assert_eq!(normalised("/api/auth?a=/"), "/api/auth?a=/");
        assert_eq!(normalised("/api/auth/?a=b"), "/api/auth?a=b");
        assert_eq!(normalised("/api/auth//"), "/api/auth/");
        assert_eq!(normalised("/"), "/");
        assert_eq!(normalised("http://h/api/"), "http://h/api");
    }

    #[test]
    fn patterns_number_their_parameters() {
        assert_eq!(pattern("/api/{a}/b/{c}"), "/api/:param0/b/:param1");
        assert_eq!(documented("/api/{a}/b"), "/api/{a}/b/");
        assert_eq!(documented("/health"), "/health");
    }
}
