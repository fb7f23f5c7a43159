//! The password given again by somebody who is logged in, before what is dangerous.

use super::limits::{identifier_bucket, wait};
use super::login::{Guess, guess};
use super::{Context, Doorbook, FieldFault, Refusal, retrying};
use crate::attempt::LoginFailure;
use crate::limit::Rule;
use crate::password::PasswordPlain;
use crate::store::keys::identifiers::Bucket;
use crate::store::query::accounts::Loaded;
use crate::store::query::counters;
use crate::store::write::Write;

impl Doorbook {
    /// Checks the password by the same counter as a login. What it is given for counts against `limits`, but not while it is wrong.
    pub(crate) async fn confirm_password<const N: usize>(
        &self,
        owner: &Loaded,
        password: &PasswordPlain,
        field: &'static str,
        limits: &[(Bucket, Rule); N],
        context: &Context,
    ) -> Result<(), Refusal> {
        let email = owner.email().ok_or(Refusal::Unauthenticated)?;
        let guess = guess(&email, Some(owner), identifier_bucket("login", &email), None);
        self.reserve(&guess, None).await?;
        let verified = match self.hasher.verify(owner.secret.as_deref(), password).await {
            Ok(verified) => verified,
            Err(error) => {
                self.give_back_unverified(&guess).await;
                return Err(error.into());
            }
        };
        if verified.matches {
            let settled = self.settle_confirmed(&guess, limits, context).await;
            return settled.inspect_err(|refusal| self.give_back_unless_settled(refusal, &guess));
        }
        match self.settle_failure(&guess, Some(owner.id), LoginFailure::WrongPassword, context).await {
            Refusal::InvalidCredentials => Err(Refusal::Invalid(vec![FieldFault::new(
                field,
                "password_incorrect",
                "is not the account's password",
            )])),
            other => Err(other),
        }
    }

    /// The guess was right. Counts it against all of the limits in the same statement, or against none when one of them is reached.
    async fn settle_confirmed<const N: usize>(
        &self,
        guess: &Guess<'_>,
        limits: &[(Bucket, Rule); N],
        context: &Context,
    ) -> Result<(), Refusal> {
        let rule = self.policy.login;
        let buckets = limits.each_ref().map(|(bucket, _)| bucket);
        let reached = retrying(async || {
            let (row, others, now) = counters::read_with(&self.db, &self.vault, &guess.bucket, buckets).await?;
            let counter = row.counter.clone().settle_success(rule, now, guess.reservation);
            let mut write = Write::new();
            write.put_counter(&row, &counter, counter.forgotten_at(rule, now));
            let mut asked = Vec::with_capacity(limits.len());
            let mut reached = None;
            for (row, (bucket, limit)) in others.iter().zip(limits) {
                match row.counter.clone().count(*limit, now) {
                    Ok(counter) => asked.push((row, counter, *limit)),
                    Err(until) => reached = reached.or(Some((bucket, *limit, wait(until, now)))),
                }
            }
            if reached.is_none() {
                for (row, counter, limit) in asked {
                    write.put_counter(row, &counter, counter.forgotten_at(limit, now));
                }
            }
            write.run(&self.db).await?;
            Ok(reached)
        })
        .await?;
        let Some((bucket, limit, retry_after)) = reached else { return Ok(()) };
        self.note_exceeded(bucket, limit, &context.origin).await;
        Err(Refusal::Limited { retry_after })
    }
}
