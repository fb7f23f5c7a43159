//! The sections that can be read although others cannot: one wrong variable must not hide what else is wrong.

use super::super::reader::Reader;
use super::super::{
    Cookies, Database, Environment, Http, Logging, Mail, Monitoring, Password, Process, Redis, Secrets, Watching,
};

#[derive(Debug)]
pub struct Parts {
    pub debug: bool,
    pub secrets: Option<Secrets>,
    pub database: Option<Database>,
    pub redis: Option<Redis>,
    pub mail: Option<Mail>,
    pub http: Option<Http>,
    pub password: Option<Password>,
    pub logging: Option<Logging>,
    pub monitoring: Option<Monitoring>,
    pub cookies: Option<Cookies>,
    pub watching: Option<Watching>,
}

impl Parts {
    /// As `process` would have them.
    pub fn read(environment: &Environment, process: Process) -> Self {
        let mut reader = Reader::new(environment, process);
        Self {
            debug: reader.debug,
            secrets: Secrets::read(&mut reader).ok(),
            database: Database::read(&mut reader).ok(),
            redis: Redis::read(&mut reader).ok(),
            mail: Mail::read(&mut reader).ok(),
            http: Http::read(&mut reader).ok(),
            password: Password::read(&mut reader).ok(),
            logging: Logging::read(&mut reader).ok(),
            monitoring: Monitoring::read(&mut reader).ok(),
            cookies: Cookies::read(&mut reader).ok(),
            watching: Watching::read(&mut reader).ok(),
        }
    }
}
