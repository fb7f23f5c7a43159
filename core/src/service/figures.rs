//! What a process tells operators of its use cases: numbers, and the line about a failed login.

use super::login::{Login, Tokens};
use super::{Context, Doorbook, Refusal};
use crate::attempt::LoginFailure;
use crate::config::LogEmail;
use crate::store::keys::identifiers::Bucket;
use crate::telemetry::metrics::{Kind, LOGIN_BLOCKS, LOGINS, LoginOutcome, Page};
use crate::value::Email;

impl Doorbook {
    /// Logs in, and counts how it ended.
    pub async fn login(&self, login: &Login, context: &Context) -> Result<Tokens, Refusal> {
        let result = self.try_login(login, context).await;
        LOGINS.count(match &result {
            Ok(_) => LoginOutcome::Success,
            Err(Refusal::InvalidCredentials) => LoginOutcome::Failed,
            Err(Refusal::Blocked { .. }) => LoginOutcome::Blocked,
            Err(Refusal::Limited { .. }) => LoginOutcome::Limited,
            Err(Refusal::Busy | Refusal::Overloaded { .. }) => LoginOutcome::Busy,
            Err(_) => LoginOutcome::Error,
        });
        result
    }

    /// The line that log watchers of the replaced service look for. Only what is an address gets here.
    pub(super) fn tell_of_failure(&self, email: &Email, reason: LoginFailure, blocks: bool, context: &Context) {
        if blocks {
            LOGIN_BLOCKS.add(1);
        }
        let address = context.origin.address;
        let email = match self.policy.log_email {
            LogEmail::Plain => email.normal_form().to_owned(),
            LogEmail::Masked => email.masked(),
            LogEmail::Hash => {
                let of = Bucket::new("log_email", &[email.normal_form().as_bytes()]);
                let digest = self.vault.identifiers().name(&of);
                // Half of it is enough to tell two addresses apart.
                let half = digest.first_chunk().map_or(0, |half| u128::from_be_bytes(*half));
                format!("{half:032x}")
            }
        };
        tracing::warn!(
            target: "authentication",
            ?reason,
            blocks,
            "Failed login attempt for email: {email} from IP: {address}"
        );
    }

    /// Hashes and connections of this process.
    pub fn figures(&self, page: &mut Page) {
        let (running, waiting) = self.hasher.in_use();
        page.gauge("doorbook_password_hashes_running", "Password hashes being computed.", running);
        page.gauge("doorbook_password_hashes_waiting", "Password hashes that wait for a thread.", waiting);
        let help = "Password verifications computed.";
        page.counter("doorbook_password_verifications_total", help, self.hasher.verifications());
        let help = "Requests told to come back because hashing is behind.";
        page.counter("doorbook_password_hashes_shed_total", help, self.hasher.rejected());
        let (open, idle, max) = self.db.connections();
        page.family("doorbook_db_connections", Kind::Gauge, "Database connections of the pool.");
        page.sample(&[("state", "used")], open - idle);
        page.sample(&[("state", "idle")], idle);
        page.gauge("doorbook_db_connections_max", "Connections that the pool opens at most.", max);
        let help = "Waits of more than 100 ms for a database connection.";
        page.counter("doorbook_db_slow_acquires_total", help, crate::telemetry::metrics::POOL_SLOW.get());
    }
}
