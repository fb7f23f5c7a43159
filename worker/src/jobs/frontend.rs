//! The pages that links in mails lead to.

use doorbook_mail::Link;
use url::Url;

/// FRONTEND_URL, which every mailed link starts with.
pub struct Frontend(pub Url);

impl Frontend {
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or("localhost")
    }

    pub fn page(&self, path: &str) -> Link {
        Link::from(self.url(path))
    }

    pub fn with_token(&self, path: &str, token: &str) -> Link {
        let mut url = self.url(path);
        url.query_pairs_mut().append_pair("token", token);
        Link::from(url)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        // Only URLs without a host refuse segments, and the settings refuse those.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(path);
        }
        url
    }
}
