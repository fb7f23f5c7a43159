//! The blocks that the operators' production guide prints load as they are, once the placeholders are filled in.

use std::time::Duration;

use doorbook_core::config::{Environment, Faults, Process, Settings, SmtpSecurity};

use crate::support::smtp;

/// The blocks as the guide prints them, to the letter.
const REQUIRED_BLOCK: &str = include_str!("../vectors/guide-required.env");
const OPTIONAL_BLOCK: &str = include_str!("../vectors/guide-optional.env");

/// What an operator writes over the placeholders. The keys are as the guide's own commands make them.
const FILLED_IN: [(&str, &str); 7] = [
    ("<50-character-random-string>", "q3Vw8ZkT1yXn6Rb0Lm4Hs9Gd2Jf7CpUeIoAaKt5MzQvNrBxWjYlFhDgSuEi+/4PcO1x2T8bV6w=="),
    ("<32-character-random-string>", "mR7_kT2xVq9Lw-4ZnB6yHs1Gd8Jf3CpUeIoAaKt5MzQ"),
    ("user:password@host:5432/dbname", "audio:r7Kx2Vq9Lw4ZnB6y@db.internal:5432/audio"),
    ("<secure_username>", "audio_app"),
    ("<strong_password>", "r7Kx+2Vq9/Lw4Zn#B6y%Hs1=Gd8"),
    ("<db_host_or_rds_endpoint>", "audio.abc123.us-east-1.rds.amazonaws.com"),
    ("<sendgrid_api_key>", "SG.r7Kx2Vq9Lw4ZnB6y.Hs1Gd8Jf3"),
];

fn filled_in(block: &str) -> String {
    FILLED_IN.iter().fold(block.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value))
}

fn load(dotenv: &str) -> Result<Settings, Faults> {
    Settings::load(&Environment::of_dotenv(dotenv)?, Process::Api)
}

#[test]
fn the_block_of_required_variables_loads() {
    let settings = load(&filled_in(REQUIRED_BLOCK)).unwrap();
    assert_eq!(settings.database.url.expose(), "postgresql://audio:r7Kx2Vq9Lw4ZnB6y@db.internal:5432/audio");
    let smtp = smtp(&settings);
    assert_eq!((smtp.host.as_str(), smtp.port, smtp.security), ("smtp.sendgrid.net", 587, SmtpSecurity::StartTls));
    assert!(settings.http.allowed_hosts.allows("api.betancourtaudio.com"));
    assert_eq!(settings.http.cors_allowed_origins, ["https://betancourtaudio.com", "https://www.betancourtaudio.com"]);
    assert_eq!(settings.tokens.jwt_issuer, "https://betancourtaudio.com");
}

#[test]
fn it_loads_without_the_url_by_the_parts_of_the_database() {
    let block = filled_in(REQUIRED_BLOCK);
    let block: Vec<_> = block.lines().filter(|line| !line.starts_with("DATABASE_URL")).collect();
    let settings = load(&block.join("\n")).unwrap();
    assert_eq!(
        settings.database.url.expose(),
        "postgresql://audio_app:r7Kx%2B2Vq9%2FLw4Zn%23B6y%25Hs1%3DGd8@audio.abc123.us-east-1.rds.amazonaws.com:5432/\
         betancourt_audio_prod"
    );
}

#[test]
fn the_block_of_optional_variables_loads_with_its_comments() {
    let settings = load(&(filled_in(REQUIRED_BLOCK) + OPTIONAL_BLOCK)).unwrap();
    assert_eq!(settings.tokens.session_lifetime, Duration::from_hours(7 * 24));
    assert_eq!(settings.password.min_length, 8);
}

#[test]
fn both_load_with_the_line_ends_of_windows() {
    load(&(filled_in(REQUIRED_BLOCK) + OPTIONAL_BLOCK).replace('\n', "\r\n")).unwrap();
}

#[test]
fn what_is_not_filled_in_is_refused() {
    let faults = load(REQUIRED_BLOCK).unwrap_err();
    let refused: Vec<_> = faults.iter().map(|fault| fault.variable.as_ref()).collect();
    assert_eq!(refused, ["SECRET_KEY", "JWT_SECRET_KEY", "DATABASE_URL", "EMAIL_HOST_PASSWORD"]);
}
