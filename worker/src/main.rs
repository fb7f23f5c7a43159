//! The worker process: settings, logging, signals.

use std::io;
use std::process::ExitCode;

use doorbook_core::config::{Environment, Process, Settings};
use doorbook_core::telemetry;
use doorbook_worker::RunError;
use doorbook_worker::stop::{self, Switch};
use tokio::signal::unix::{SignalKind, signal};

/// Exit status for settings that cannot be used. Source: docs/SETTINGS.md.
const EXIT_SETTINGS: u8 = 2;

#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error("the process cannot be set up: {0}")]
    Setup(#[from] io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
}

fn main() -> ExitCode {
    let settings = match Environment::of_process().and_then(|environment| Settings::load(&environment, Process::Worker))
    {
        Ok(settings) => settings,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    // Dropped last, outside of the runtime.
    let _telemetry = match telemetry::init(&settings, "worker") {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("logging cannot be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(MainError::from).and_then(|runtime| runtime.block_on(run(&settings))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the worker failed");
            let is_of_settings = matches!(&error, MainError::Run(error) if error.is_of_settings());
            if is_of_settings { ExitCode::from(EXIT_SETTINGS) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(settings: &Settings) -> Result<(), MainError> {
    settings.announce();
    let (switch, stop) = stop::pair();
    tokio::spawn(request_at_signal(switch.clone())?);
    Ok(doorbook_worker::run(settings, switch, stop).await?)
}

/// Requests the end at SIGTERM or SIGINT. The handlers stand when this returns, before the future runs.
fn request_at_signal(switch: Switch) -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        switch.request();
    })
}
