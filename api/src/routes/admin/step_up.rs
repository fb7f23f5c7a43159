//! Giving the password again before something dangerous.

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use crate::auth::Auditor;
use crate::body::Strict;
use crate::problem::Problem;
use crate::routes::input::{Asked, Faults, command};
use crate::routes::{Chapter, Done};

pub struct StepUp;

#[derive(Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepUpBody {
    #[oai(validator(min_length = 1, max_length = 1024))]
    password: String,
}

#[OpenApi(tag = "Chapter::Administration")]
impl StepUp {
    /// Give the password again
    ///
    /// For ten minutes this session may do what is answered with `step-up-required` otherwise; so may a new one. A wrong password counts
    /// like a failed login.
    #[oai(path = "/api/admin/step-up/", method = "post", operation_id = "step_up")]
    async fn step_up(&self, auditor: Auditor, asked: Asked, body: Strict<StepUpBody>) -> Result<Done, Problem> {
        let mut faults = Faults::default();
        let Some(password) = faults.password("password", body.0.password) else { return faults.refuse() };
        command(async move {
            let context = asked.context.acting(auditor.0.account);
            asked.doorbook.step_up(auditor.0, &password, &context).await
        })
        .await?;
        Ok(Done::NoContent)
    }
}
