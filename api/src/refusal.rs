//! What a use case refuses, as the problem that a client sees.

use std::time::Duration;

use doorbook_core::service::Refusal;

use crate::problem::{FieldError, Problem};

/// Seconds after which an unavailable store may be asked again.
const STORE_RETRY_SECONDS: u64 = 2;

/// Rounded up: who comes back after this many seconds is served.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let field = |name, code, message| Self::validation(vec![FieldError::new(name, code, message)]);
        match refusal {
            Refusal::Invalid(faults) => Self::validation(
                faults.into_iter().map(|fault| FieldError::new(fault.field, fault.code, fault.message)).collect(),
            ),
            Refusal::InvalidCredentials => Self::invalid_credentials(),
            Refusal::Unauthenticated => Self::unauthorized(),
            Refusal::Forged => Self::forged(),
            Refusal::InvalidToken => field("token", "invalid_token", "is not valid, or not any more"),
            Refusal::IdempotencyMismatch => {
                field("Idempotency-Key", "idempotency_key_reused", "was used for another request in the last 24 hours")
            }
            Refusal::Blocked { retry_after } => Self::blocked(seconds(retry_after)),
            Refusal::Busy => Self::busy(),
            Refusal::Limited { retry_after } => Self::limit_exceeded(seconds(retry_after)),
            Refusal::Mail(why) => Self::conflict(why.to_string()),
            Refusal::NotSigned => Self::conflict("The event is younger than the checkpoint."),
            Refusal::Forbidden => Self::forbidden(),
            Refusal::StepUpRequired => Self::step_up_required(),
            Refusal::NotFound => Self::not_found(),
            Refusal::AccountDisabled => Self::conflict("The account is disabled."),
            Refusal::LastAdmin => Self::conflict("No other active admin would be left."),
            Refusal::RegistrationClosed => Self::forbidden().with_detail("Registration is closed."),
            Refusal::EmailTaken => Self::conflict("The address belongs to another account by now."),
            Refusal::AlreadyVerified => Self::conflict("The address is verified already."),
            Refusal::IdempotencySessionOver => Self::conflict("The session of the first request is over."),
            Refusal::Overloaded { retry_after } => Self::unavailable(seconds(retry_after).max(1)),
            Refusal::Unavailable(error) => {
                tracing::warn!(%error, "the store cannot be used");
                Self::unavailable(STORE_RETRY_SECONDS)
            }
            Refusal::Internal(error) => {
                tracing::error!(%error, "a use case failed");
                Self::internal()
            }
        }
    }
}
