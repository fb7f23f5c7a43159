//! A running deployment seen from outside, as the lines with curl in the guide see it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use doorbook_core::config::check::Line;
use reqwest::header::HeaderMap;
use reqwest::tls::TlsInfo;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::{certificate, load, score};

/// Time for one request; the service itself gives up after fifteen seconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where mail goes nowhere: its domain takes none (RFC 2606, 3).
const THROW_AWAY_DOMAIN: &str = "example.com";

const API_PATH: &str = "/api/auth/";

/// What the guide looks for with grep.
const HEADERS: [&str; 3] = ["strict-transport-security", "x-content-type-options", "x-frame-options"];

pub struct Outside {
    client: Client,
    url: Url,
    http_url: Url,
}

pub fn throw_away_address() -> String {
    format!("doorbook-check-{}@{THROW_AWAY_DOMAIN}", super::random().simple())
}

impl Outside {
    pub fn new(url: &Url, http_url: Option<&Url>, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT).tls_info(true);
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem)?);
        }
        let mut plain = url.clone();
        // Fails for no URL that `base_url` lets through.
        if plain.set_scheme("http").and_then(|()| plain.set_port(None)).is_err() {
            anyhow::bail!("{url} has no plain form");
        }
        let http_url = http_url.cloned().unwrap_or(plain);
        Ok(Self { client: builder.build()?, url: url.clone(), http_url })
    }

    /// All lines; `account` also makes an account at that address.
    pub async fn lines(&self, account: Option<&str>) -> Vec<Line> {
        let mut lines = vec![self.health("/health", "health").await, self.health("/health/ready", "readiness").await];
        let redirect = self.redirect().await;
        let redirects = redirect.verdict != doorbook_core::config::check::Verdict::Fail;
        lines.push(redirect);
        lines.extend(self.api(redirects).await);
        lines.push(self.admin().await);
        lines.push(load::line(&self.client, &self.at(API_PATH)).await);
        if let Some(address) = account {
            lines.push(self.account(address).await);
        }
        lines
    }

    fn at(&self, path: &str) -> String {
        joined(&self.url, path)
    }

    async fn health(&self, path: &str, check: &'static str) -> Line {
        match self.client.get(self.at(path)).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => match body(answer).await["status"].as_str() {
                Some("ok") => Line::ok(check, "ok"),
                Some("degraded") => Line::warn(check, "degraded: look at the worker, Redis and the mail server"),
                _ => Line::fail(check, "the answer is not Doorbook's: does the proxy lead elsewhere?"),
            },
            Ok(answer) => Line::fail(check, format!("{path} answers {}: look at the api's log", answer.status())),
            Err(error) => Line::fail(check, told(error)),
        }
    }

    async fn redirect(&self) -> Line {
        const CHECK: &str = "https redirect";
        let answer = match self.client.get(joined(&self.http_url, API_PATH)).send().await {
            Ok(answer) => answer,
            // Nothing there to redirect, and nothing that could be read on the way.
            Err(error) if error.is_connect() => {
                return Line::warn(CHECK, "nothing answers plain http: who types the name alone will not get through");
            }
            Err(error) => return Line::fail(CHECK, told(error)),
        };
        let location = answer.headers().get("location").and_then(|location| location.to_str().ok());
        let target = location.and_then(|location| Url::parse(location).ok());
        let is_permanent = [301, 308].contains(&answer.status().as_u16());
        match target {
            Some(target) if target.scheme() == "https" && target.host() == self.http_url.host() && is_permanent => {
                Line::ok(CHECK, "plain http is sent to https for good")
            }
            Some(target) if target.scheme() == "https" => Line::warn(
                CHECK,
                format!("{} to {}: use 308 to the same host", answer.status(), target.origin().ascii_serialization()),
            ),
            _ => Line::fail(
                CHECK,
                format!("plain http answers {}: set SECURE_SSL_REDIRECT, or redirect at the proxy", answer.status()),
            ),
        }
    }

    /// What one good answer tells: itself, the certificate, the headers.
    async fn api(&self, redirects: bool) -> Vec<Line> {
        const CHECK: &str = "api";
        let answer = match self.client.get(self.at(API_PATH)).send().await {
            Ok(answer) => answer,
            Err(error) => return vec![Line::fail(CHECK, told(error))],
        };
        let der = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate).map(<[u8]>::to_vec);
        let (status, headers) = (answer.status(), answer.headers().clone());
        let name = body(answer).await["name"].as_str().map(str::to_owned);
        let mut lines = vec![if status == StatusCode::OK && name.is_some() {
            Line::ok(CHECK, format!("{API_PATH} answers"))
        } else {
            Line::fail(
                CHECK,
                format!("{API_PATH} answers {status}: check ALLOWED_HOSTS, TRUSTED_PROXIES and the proxy"),
            )
        }];
        lines.push(if self.url.scheme() == "https" {
            certificate::line(der.as_deref(), super::now())
        } else {
            Line::fail("certificate", "none: the URL is plain http")
        });
        lines.push(headers_line(&headers));
        lines.extend(score::lines(&headers, redirects));
        lines
    }

    async fn admin(&self) -> Line {
        const CHECK: &str = "admin";
        match self.client.get(self.at("/admin/")).send().await {
            Ok(answer) if leads_to_login(&answer) => Line::ok(CHECK, "/admin/ answers"),
            Ok(answer) if answer.status().is_server_error() => {
                Line::fail(CHECK, format!("/admin/ answers {}: look at the api's log", answer.status()))
            }
            // Every api has the console: whatever else answers stands before it, perhaps on purpose.
            Ok(answer) => Line::warn(CHECK, format!("/admin/ answers {}: check the proxy", answer.status())),
            Err(error) => Line::fail(CHECK, told(error)),
        }
    }

    async fn account(&self, address: &str) -> Line {
        const CHECK: &str = "account";
        match self.visit(address).await {
            Ok(()) => {
                let advice = format!("disable it: doorbook account disable {address} --reason check");
                Line::ok(CHECK, format!("registered, logged in and read its profile; {advice}"))
            }
            Err(refusal) => Line::fail(CHECK, refusal),
        }
    }

    /// Registers, logs in, reads the profile.
    async fn visit(&self, address: &str) -> Result<(), String> {
        let password = format!("{} {}", super::random().simple(), super::random().simple());
        let registration = json!({ "email": address, "password": password, "password_confirm": password });
        self.step(Method::POST, "/api/auth/register/", Some(&registration), None).await?;
        let credentials = json!({ "email": address, "password": password });
        let tokens = self.step(Method::POST, "/api/auth/login/", Some(&credentials), None).await?;
        let access = tokens["access"].as_str().ok_or("the login gives no access token")?;
        let profile = self.step(Method::GET, "/api/auth/profile/", None, Some(access)).await?;
        if profile["email"] == address { Ok(()) } else { Err("the profile is another account's".to_owned()) }
    }

    async fn step(
        &self,
        method: Method,
        path: &str,
        sent: Option<&Value>,
        token: Option<&str>,
    ) -> Result<Value, String> {
        let mut request = self.client.request(method, self.at(path));
        if let Some(sent) = sent {
            request = request.json(sent);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|error| format!("{path}: {}", told(error)))?;
        let status = answer.status();
        let received = body(answer).await;
        if status.is_success() {
            return Ok(received);
        }
        let problem = received["type"].as_str().unwrap_or("no problem type");
        Err(format!("{path} answers {status} ({problem}): see REGISTRATION_MODE and the api's log"))
    }
}

/// To the login of the console, as whoever comes without a session is sent.
fn leads_to_login(answer: &Response) -> bool {
    let to = answer.headers().get(reqwest::header::LOCATION).and_then(|to| to.to_str().ok());
    answer.status().is_redirection() && to.is_some_and(|to| to.contains("/admin/login/"))
}

fn joined(base: &Url, path: &str) -> String {
    format!("{}{path}", base.as_str().trim_end_matches('/'))
}

async fn body(answer: Response) -> Value {
    answer.json().await.unwrap_or(Value::Null)
}

/// The cause, which reqwest leaves to whoever follows the sources.
fn told(error: reqwest::Error) -> String {
    let error = anyhow::Error::from(error.without_url());
    format!("no answer: {error:#}")
}

fn headers_line(headers: &HeaderMap) -> Line {
    const CHECK: &str = "security headers";
    let missing: Vec<&str> = HEADERS.into_iter().filter(|name| !headers.contains_key(*name)).collect();
    if missing.is_empty() {
        Line::ok(CHECK, "HSTS, nosniff and framing")
    } else {
        Line::fail(CHECK, format!("missing: {}: check SECURE_* and that the proxy keeps them", missing.join(", ")))
    }
}
