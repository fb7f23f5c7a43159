//! The api process: settings, service, HTTP, until SIGTERM.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use doorbook_api::config::{CookieConfig, FrameOptions, HeaderConfig, Hsts, HttpConfig, SameSite};
use doorbook_api::edge::{self, Limits};
use doorbook_api::ops::{self, Ops, Ready};
use doorbook_api::routes::admin::stream::Ending;
use doorbook_api::routes::health::{Readiness, ReadinessProbe};
use doorbook_api::server::{App, routes};
use doorbook_core::config::{self, Environment, Process, Settings};
use doorbook_core::service::Doorbook;
use doorbook_core::service::start::{self, SettingsError};
use doorbook_core::telemetry;
use doorbook_core::telemetry::metrics::Push;
use futures::FutureExt as _;
use poem::http::HeaderName;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit status for settings that cannot be used. Source: docs/SETTINGS.md.
const EXIT_SETTINGS: u8 = 2;
/// Pause between two tries to reach the database at start.
const START_RETRY: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let settings = match Environment::of_process().and_then(|environment| Settings::load(&environment, Process::Api)) {
        Ok(settings) => settings,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    // Dropped last, outside of the runtime.
    let _telemetry = match telemetry::init(&settings, "api") {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("logging cannot be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let threads = usize::try_from(settings.http.worker_threads).unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(&settings))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let is_of_settings = error.downcast_ref().is_some_and(SettingsError::is_of_settings);
            if is_of_settings { ExitCode::from(EXIT_SETTINGS) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(settings: &Settings) -> anyhow::Result<()> {
    settings.announce();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopping) = watch::channel(false);
    let opened = Arc::new(OnceLock::new());
    let ending = Ending(stopping.clone());
    let ops = Ops { doorbook: Arc::clone(&opened), stopping };
    let ops_listener = TcpListener::bind(settings.http.api_ops_bind).await.context("API_OPS_BIND")?;
    tokio::spawn(ops::serve(ops_listener, ops.clone()));
    let push = Push::start(settings.monitoring.otlp_endpoint.as_ref(), "api", {
        let ops = ops.clone();
        move || std::future::ready(ops.page())
    });
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
        tracing::info!("ending: readiness is off");
    };
    let Some(doorbook) = open(settings).await? else { return Ok(()) };
    let doorbook = opened.get_or_init(|| Arc::new(doorbook));
    let app = App::new(routes(readiness(ops)), &http(settings)?)?.with_data(Arc::clone(doorbook)).with_data(ending);
    let listener = TcpListener::bind(settings.http.api_bind).await.context("API_BIND")?;
    tracing::info!(address = %settings.http.api_bind, "serving");
    edge::serve(listener, Arc::new(app), Limits::within_descriptors(), stop).await;
    if let Some(push) = push {
        push.end().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// The service, as soon as the database lets it start; `None` when the process is told to stop before.
async fn open(settings: &Settings) -> anyhow::Result<Option<Doorbook>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    loop {
        match start::start(settings).await {
            Ok(doorbook) => {
                doorbook.note_settings("api", settings).await;
                return Ok(Some(doorbook));
            }
            Err(error) if error.is_temporary() => tracing::warn!(%error, "waiting for the database"),
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(START_RETRY) => {}
            _ = terminate.recv() => return Ok(None),
            _ = interrupt.recv() => return Ok(None),
        }
    }
}

fn readiness(ops: Ops) -> ReadinessProbe {
    Arc::new(move || {
        let ops = ops.clone();
        async move {
            match ops.ready().await {
                Ready::Ready => Readiness::Ready,
                Ready::Degraded => Readiness::Degraded,
                Ready::Ending | Ready::NotOpen | Ready::Outdated | Ready::Unusable => Readiness::Unavailable,
            }
        }
        .boxed()
    })
}

fn http(settings: &Settings) -> anyhow::Result<HttpConfig> {
    let (http, security) = (&settings.http, &settings.http.security);
    Ok(HttpConfig {
        allowed_hosts: http.allowed_hosts.patterns().map(str::to_owned).collect(),
        trusted_proxies: http.trusted_proxies.clone(),
        proxy_scheme_header: (
            HeaderName::try_from(security.proxy_ssl_header.name.as_str())?,
            security.proxy_ssl_header.value.clone(),
        ),
        ssl_redirect: security.ssl_redirect,
        headers: HeaderConfig {
            hsts: security.hsts.map(|hsts| Hsts {
                seconds: hsts.max_age_seconds.into(),
                include_subdomains: hsts.include_subdomains,
                preload: hsts.preload,
            }),
            nosniff: security.content_type_nosniff,
            xss_filter: security.browser_xss_filter,
            frame_options: match security.frame_options {
                config::FrameOptions::Deny => FrameOptions::Deny,
                config::FrameOptions::SameOrigin => FrameOptions::SameOrigin,
            },
        },
        cookie: CookieConfig {
            secure: settings.cookies.session.secure,
            http_only: settings.cookies.session.http_only,
            same_site: match settings.cookies.session.same_site {
                config::SameSite::Strict => SameSite::Strict,
                config::SameSite::Lax => SameSite::Lax,
            },
        },
        cors_allowed_origins: http.cors_allowed_origins.clone(),
        request_timeout: http.request_timeout,
        docs: http.docs_enabled,
        security_contact: http.security_contact.clone(),
    })
}
