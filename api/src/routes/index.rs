//! The API's front door.

use poem_openapi::{Object, OpenApi, payload::Json};

use crate::openapi::{TITLE, VERSION};

#[derive(Object)]
struct Index {
    name: String,
    version: String,
    links: Links,
}

/// Where a client goes from here.
#[derive(Object)]
struct Links {
    openapi: String,
    register: String,
    login: String,
    token_refresh: String,
    password_reset: String,
    profile: String,
    health: String,
}

pub struct IndexApi;

#[OpenApi]
#[expect(clippy::unused_async, reason = "the framework takes async handlers only")]
impl IndexApi {
    /// Name and version of the service, and where to go from here.
    #[oai(path = "/api/auth/", method = "get", operation_id = "index")]
    async fn index(&self) -> Json<Index> {
        Json(Index {
            name: TITLE.to_owned(),
            version: VERSION.to_owned(),
            links: Links {
                openapi: "/api/openapi.json".to_owned(),
                register: "/api/auth/register/".to_owned(),
                login: "/api/auth/login/".to_owned(),
                token_refresh: "/api/auth/token/refresh/".to_owned(),
                password_reset: "/api/auth/password/reset/".to_owned(),
                profile: "/api/auth/profile/".to_owned(),
                health: "/health".to_owned(),
            },
        })
    }
}
