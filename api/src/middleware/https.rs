//! Plain http is sent to https when that is harmless and refused when it is not.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use poem::{
    Request, Response,
    http::{Method, StatusCode, header},
};

use crate::{
    middleware::{
        client::{Client, Scheme},
        host::Host,
    },
    problem::Problem,
};

/// Shortest time between two warnings about one cause: anyone can send the header.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

pub struct HttpsPolicy {
    redirect: bool,
    warned: Mutex<Option<Instant>>,
}

impl HttpsPolicy {
    pub const fn new(redirect: bool) -> Self {
        Self { redirect, warned: Mutex::new(None) }
    }

    /// `None`: go on. A redirect keeps the host that was checked and never repeats a request that carried a
    /// credential, which plain http has exposed already.
    pub fn check(&self, request: &Request, client: &Client, host: &Host) -> Result<Option<Response>, Problem> {
        match client.scheme {
            Scheme::Https => Ok(None),
            Scheme::Claimed => {
                self.warn(client);
                Err(Problem::untrusted_proxy())
            }
            Scheme::Http if !self.redirect => Ok(None),
            Scheme::Http => {
                let credentials = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
                let harmless = matches!(*request.method(), Method::GET | Method::HEAD)
                    && !credentials.iter().any(|name| request.headers().contains_key(name));
                if !harmless {
                    return Err(Problem::https_required());
                }
                let target = request.original_uri().path_and_query().map_or("/", |target| target.as_str());
                let location = format!("https://{}{target}", host.as_str());
                Ok(Some(
                    Response::builder()
                        .status(StatusCode::PERMANENT_REDIRECT)
                        .header(header::LOCATION, location)
                        .finish(),
                ))
            }
        }
    }

    fn warn(&self, client: &Client) {
        // A poisoned lock only means that a warning was being written.
        let mut warned = self.warned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
            *warned = Some(Instant::now());
            tracing::warn!(peer = %client.address.0, "https claimed by a peer that TRUSTED_PROXIES does not list");
        }
    }
}
