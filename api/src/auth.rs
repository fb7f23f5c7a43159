//! Who asks: the bearer's access token, checked against session and account on every call, and the roles where a route wants one.

use std::sync::Arc;

use doorbook_core::service::access::{Caller, Right};
use doorbook_core::service::{Doorbook, Refusal};
use poem::Request;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;

use crate::bearer::bearer_token;
use crate::problem::Problem;
use crate::routes::input::{asked, repeated_write};

/// Access token from `POST /api/auth/login/` or `POST /api/auth/token/refresh/`.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT", rename = "bearer", checker = "check")]
pub struct Signed(pub Caller);

// For a use case that checks the token in the very statement in which it reads. The description is the other's: it is one scheme.
/// Access token from `POST /api/auth/login/` or `POST /api/auth/token/refresh/`.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT", rename = "bearer", checker = "take")]
pub struct Unchecked(pub String);

/// The token of an auditor or admin.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT", rename = "bearer", checker = "check_auditor")]
pub struct Auditor(pub Caller);

/// The token of an admin.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT", rename = "bearer", checker = "check_admin")]
pub struct Admin(pub Caller);

/// The framework has found some bearer token; which one it took of several headers is not left to it.
fn token(request: &Request) -> poem::Result<&str> {
    Ok(bearer_token(request)?)
}

#[expect(clippy::unused_async, reason = "the framework takes async checkers only")]
async fn take(request: &Request, _: Bearer) -> poem::Result<String> {
    token(request).map(str::to_owned)
}

async fn check(request: &Request, _: Bearer) -> poem::Result<Caller> {
    let doorbook = request.data::<Arc<Doorbook>>().ok_or_else(Problem::internal)?;
    let token = token(request)?;
    let refused = match doorbook.authenticate(token).await {
        Ok(caller) => return Ok(caller),
        Err(refused) => refused,
    };
    if let (Refusal::Unauthenticated, Some((route, key))) = (&refused, repeated_write(request))
        && doorbook.has_written(token, route, key).await.map_err(Problem::from)?
    {
        return Err(Problem::from(Refusal::IdempotencySessionOver).into());
    }
    Err(Problem::from(refused).into())
}

async fn check_auditor(request: &Request, bearer: Bearer) -> poem::Result<Caller> {
    admitted(request, bearer, Right::Audit).await
}

async fn check_admin(request: &Request, bearer: Bearer) -> poem::Result<Caller> {
    admitted(request, bearer, Right::Administer).await
}

async fn admitted(request: &Request, bearer: Bearer, right: Right) -> poem::Result<Caller> {
    let caller = check(request, bearer).await?;
    let asked = asked(request)?;
    asked.doorbook.admit(caller, right, &asked.context).await.map_err(Problem::from)?;
    Ok(caller)
}
