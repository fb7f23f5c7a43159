//! Style sheet, script and icon, under names that change with their contents: a browser keeps each for good.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use poem::http::{HeaderValue, header::CACHE_CONTROL};
use poem::{Request, Response};

use crate::problem::Problem;

const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Bytes of the digest in a name.
const DIGEST_LENGTH: usize = 9;

pub static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "css", "text/css; charset=utf-8", include_str!("assets/console.css")));
pub static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("live", "js", "text/javascript; charset=utf-8", include_str!("assets/live.js")));

pub static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

pub struct Asset {
    name: String,
    content_type: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, text: &'static str) -> Self {
        let digest = digest(&SHA256, text.as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(&digest.as_ref()[..DIGEST_LENGTH]);
        Self { name: format!("{stem}-{tag}.{extension}"), content_type, text }
    }

    pub fn path(&self) -> String {
        format!("/admin/assets/{}", self.name)
    }
}

pub fn serve(request: &Request) -> poem::Result<Response> {
    let name = request.raw_path_param("name").unwrap_or_default();
    let asset =
        [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.name == name).ok_or_else(Problem::not_found)?;
    Ok(Response::builder().content_type(asset.content_type).header(CACHE_CONTROL, IMMUTABLE).body(asset.text))
}
