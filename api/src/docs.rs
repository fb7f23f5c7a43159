//! `/docs/`: the document in Swagger UI. All of it comes from this process; no other host is asked for anything.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::body::Bytes;
use poem::{
    Response,
    http::{HeaderValue, header},
};
use poem_openapi::{OpenApi, OpenApiService};

/// The page and the policy under which exactly its own scripts run.
pub struct Docs {
    html: Bytes,
    policy: HeaderValue,
}

impl Docs {
    /// `document` is what the page shows, as JSON.
    pub fn new<A: OpenApi>(service: &OpenApiService<A, ()>, document: &str) -> anyhow::Result<Self> {
        // The framework's page shows its own, uncompleted document.
        let html = service.swagger_ui_html().replace(&service.spec(), &document.replace("</", "<\\/"));
        let hashes: Vec<_> = inline_scripts(&html).map(hash).collect();
        // Swagger UI styles its elements inline and draws icons from data URLs.
        let policy = format!(
            "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; \
             connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; form-action 'none'",
            hashes.join(" ")
        );
        Ok(Self { html: html.into(), policy: HeaderValue::from_str(&policy)? })
    }

    pub fn page(&self) -> Response {
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .header(header::CONTENT_SECURITY_POLICY, self.policy.clone())
            .body(self.html.clone())
    }
}

fn inline_scripts(html: &str) -> impl Iterator<Item = &str> {
    let mut rest = html;
    std::iter::from_fn(move || {
        let (_, opened) = rest.split_once("<script")?;
        let (_, content) = opened.split_once('>')?;
        let (script, after) = content.split_once("</script>")?;
        rest = after;
        Some(script)
    })
}

fn hash(script: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, script.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{openapi, routes::index::IndexApi};

    #[test]
    fn the_page_loads_nothing_and_runs_only_its_own_scripts() {
        let service = openapi::service(IndexApi);
        let docs = Docs::new(&service, "{\"marker\": 1}").unwrap();
        let html = String::from_utf8(docs.html.to_vec()).unwrap();
        let scripts: Vec<_> = inline_scripts(&html).collect();
        assert_eq!(scripts.len(), 2, "the bundle and the start");
        assert!(scripts[0].len() > 1_000_000 && scripts[1].contains("SwaggerUIBundle"));
        assert!(scripts[1].contains("\"marker\""), "the completed document is shown");
        let policy = docs.policy.to_str().unwrap();
        assert!(scripts.iter().all(|script| policy.contains(&hash(script))));
        let markup = scripts.iter().fold(html.clone(), |html, script| html.replace(script, ""));
        for external in ["src=", "<link", "@import", "url(http"] {
            assert!(!markup.contains(external), "{external}");
        }
        // A browser hashes scripts after turning CR LF into LF.
        assert!(!html.contains('\r'));
    }

    #[test]
    fn the_hash_is_the_one_of_the_csp_specification() {
        assert_eq!(hash("alert('Hello, world.');"), "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
    }
}
