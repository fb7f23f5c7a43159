//! The whole HTTP layer on one screen: what happens to a request, in order, and the routes.

use std::sync::Arc;

use doorbook_core::store::Patience;
use hyper::body::{Body, Bytes};
use poem::{
    Endpoint, EndpointExt, PathPattern, Request, Response, Route,
    endpoint::{BoxEndpoint, make_sync},
    get,
    http::{StatusCode, header},
};
use poem_openapi::OpenApi;
use tracing::Instrument;

use crate::{
    config::HttpConfig,
    console,
    cookie::TokenCookie,
    docs::Docs,
    middleware::{
        client::{Client, Scheme, TrustedProxies},
        cors::Cors,
        headers::SecurityHeaders,
        host::AllowedHosts,
        https::HttpsPolicy,
        panic,
        paths::{self, Paths},
        timeout::Deadline,
        trace::Trace,
    },
    openapi,
    problem::Problem,
    routes::{
        admin::{
            accounts::Accounts, alerts::Alerts, audit::Audit, deliveries::Deliveries, export::Exports, orders::Orders,
            overview::Overviews, past::Pasts, proofs::Proofs, step_up::StepUp, stream::Streams,
        },
        email::Emails,
        health::{HealthApi, ReadinessProbe},
        history::History,
        index::IndexApi,
        keys::KeyRoutes,
        login::Logins,
        password::Passwords,
        profile::Profiles,
        register::Register,
        sessions::Sessions,
        token::TokenRoutes,
    },
    security_txt,
};

const DOCUMENT_PATH: &str = "/api/openapi.json";
const DOCS_PATH: &str = "/docs";
const SECURITY_TXT_PATH: &str = "/.well-known/security.txt";

/// Every documented route.
pub fn routes(ready: ReadinessProbe) -> impl OpenApi + 'static {
    (
        HealthApi { ready },
        IndexApi,
        Register,
        Logins,
        TokenRoutes,
        KeyRoutes,
        Profiles,
        Passwords,
        Emails,
        Sessions,
        History,
        // The framework takes sixteen at most in one row.
        (Alerts, Audit, Pasts, Streams, Exports, Proofs, Accounts, Orders, Deliveries, Overviews, StepUp),
    )
}

/// Routes and everything around them.
pub struct App {
    request_timeout: std::time::Duration,
    proxies: TrustedProxies,
    hosts: AllowedHosts,
    https: HttpsPolicy,
    cors: Cors,
    cookie: TokenCookie,
    headers: SecurityHeaders,
    paths: Paths,
    routes: BoxEndpoint<'static>,
}

impl App {
    pub fn new<A: OpenApi + 'static>(api: A, config: &HttpConfig) -> anyhow::Result<Self> {
        let service = openapi::service(api);
        let document = openapi::document(&service)?.to_string();
        let docs = config.docs.then(|| Docs::new(&service, &document)).transpose()?;
        let document = Bytes::from(document);
        let mut others = vec![(DOCUMENT_PATH, "GET")];
        let mut route = Route::new().at(
            DOCUMENT_PATH,
            get(make_sync(move |_| {
                Response::builder().content_type("application/json; charset=utf-8").body(document.clone())
            })),
        );
        if let Some(docs) = docs {
            others.push((DOCS_PATH, "GET"));
            route = route.at(DOCS_PATH, get(make_sync(move |_| docs.page())));
        }
        if let Some(contact) = config.security_contact.clone() {
            others.push((SECURITY_TXT_PATH, "GET"));
            route = route.at(SECURITY_TXT_PATH, get(make_sync(move |_| security_txt::answer(&contact))));
        }
        others.extend(console::PATHS);
        let route = console::add(route, config.cookie);
        Ok(Self {
            request_timeout: config.request_timeout,
            proxies: TrustedProxies::new(config.trusted_proxies.clone(), config.proxy_scheme_header.clone()),
            hosts: AllowedHosts::new(&config.allowed_hosts),
            https: HttpsPolicy::new(config.ssl_redirect),
            cors: Cors::new(&config.cors_allowed_origins),
            cookie: TokenCookie::refresh(config.cookie),
            headers: SecurityHeaders::new(config.headers),
            paths: Paths::new::<A>(&others),
            routes: route.nest("/", service).boxed(),
        })
    }

    /// Puts `data` within reach of extractors, which see the request alone.
    #[must_use]
    pub fn with_data<T: Clone + Send + Sync + 'static>(self, data: T) -> Self {
        Self { routes: self.routes.data(data).boxed(), ..self }
    }

    /// The answer to any request. Never fails, never panics.
    pub async fn answer(
        self: Arc<Self>,
        mut request: Request,
    ) -> hyper::Response<impl Body<Data: Send, Error = std::io::Error> + Send + use<>> {
        let trace = Trace::start(&request);
        let client = self.proxies.resolve(&request);
        let origin = self.cors.granted(request.uri().path(), request.headers());
        let deadline = Deadline::after(self.request_timeout);
        request.set_data(trace.id());
        request.set_data(trace.span_id());
        request.set_data(client.address);
        request.set_data(deadline);
        request.set_data(self.cors.caller(request.headers(), client.scheme));
        request.set_data(self.cookie);

        let routed = panic::caught(deadline.limit(Patience::of_request().around(self.route(request, client))))
            .instrument(trace.span())
            .await;
        let mut response = match routed {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => self.problem(error, &trace),
            Err(problem) => problem.render(trace.path(), Some(trace.id())),
        };
        self.headers.apply(trace.path(), client.scheme, response.headers_mut());
        Cors::apply(origin, response.headers_mut());
        let route = response.data::<PathPattern>().and_then(|pattern| self.paths.get(&pattern.0));
        let route = route.map(|route| route.path.as_str());
        trace.finish(response, route)
    }

    /// The whole answer to a request whose head could not be read, made of the head that the framework had for it.
    pub async fn unreadable(&self, head: &[u8]) -> Vec<u8> {
        let head = String::from_utf8_lossy(head);
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(StatusCode::BAD_REQUEST);
        let trace = Trace::unreadable();
        let mut response = Problem::unreadable(status).render(trace.path(), Some(trace.id()));
        self.headers.apply(trace.path(), Scheme::Http, response.headers_mut());
        Cors::apply(None, response.headers_mut());
        let body = response.take_body().into_bytes().await.unwrap_or_default();
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        response.set_body(body.clone());
        let answer = trace.finish(response, Some("-"));
        let kept = head.trim_end().split("\r\n").filter(|line| !line.starts_with("content-length:"));
        let mut bytes = kept.collect::<Vec<_>>().join("\r\n").into_bytes();
        for (name, value) in answer.headers() {
            bytes.extend_from_slice(&[b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()].concat());
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Refuses what may not pass, then lets the routes answer.
    async fn route(&self, mut request: Request, client: Client) -> Result<poem::Result<Response>, Problem> {
        let path = request.uri().path();
        // `CONNECT host` and `OPTIONS *` name no path.
        if !path.starts_with('/') {
            return Err(Problem::bad_request());
        }
        if !paths::is_health(path) {
            let host = self.hosts.check(&request)?;
            if let Some(redirect) = self.https.check(&request, &client, &host)? {
                return Ok(Ok(redirect));
            }
        }
        if let Some(preflight) = self.cors.preflight(&request)? {
            return Ok(Ok(preflight));
        }
        paths::normalise(&mut request);
        Ok(self.routes.call(request).await)
    }

    /// A handler's or the framework's error; the pattern of its route goes to the access log.
    fn problem(&self, error: poem::Error, trace: &Trace) -> Response {
        let pattern = error.data::<PathPattern>().cloned();
        let route = pattern.as_ref().and_then(|pattern| self.paths.get(&pattern.0));
        let problem = Problem::from_framework(error, route.map(|route| &route.allow));
        let mut response = problem.render(trace.path(), Some(trace.id()));
        if let Some(pattern) = pattern {
            response.set_data(pattern);
        }
        response
    }
}
