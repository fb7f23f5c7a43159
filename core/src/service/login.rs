//! Login: reserve, verify, settle. Unknown, wrong, disabled and unverified take the same steps and get the same answer.

use uuid::Uuid;

use super::append::Batch;
use super::limits::{identifier_bucket, network_bucket, wait};
use super::notices::{self, Arrival};
use super::rollup::Failed;
use super::{Context, Doorbook, Refusal, RegistrationMode, retrying};
use crate::account::{Command, Status, decide};
use crate::attempt::{AttemptEvent, LoginFailure};
use crate::event::Event;
use crate::limit::Admission;
use crate::password::PasswordPlain;
use crate::session::{LoginMethod, RevokeReason, SessionEvent};
use crate::store::StoreError;
use crate::store::keys::identifiers::Bucket;
use crate::store::log::StreamKind;
use crate::store::project::sessions::NewSession;
use crate::store::query::accounts::Loaded;
use crate::store::query::counters::{Beginning, Entry};
use crate::store::query::{accounts, counters, sessions};
use crate::store::write::Write;
use crate::token::keys::Use;
use crate::token::opaque::{self, OpaqueToken};
use crate::token::random;
use crate::value::{AccountId, DeviceId, Email, SessionId, StreamId};

pub struct Login {
    pub email: Email,
    pub password: PasswordPlain,
    pub remember_device: bool,
    pub device_token: Option<String>,
}

/// What a client gets for a session.
#[derive(Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: OpaqueToken,
    /// For those whose refresh token goes into a cookie.
    pub csrf: OpaqueToken,
    pub expires_in: std::time::Duration,
    /// How long the session may be refreshed.
    pub session_left: std::time::Duration,
    pub session: SessionId,
    /// Only after a login that asked to remember the device.
    pub device: Option<OpaqueToken>,
}

/// What failures too many lead to.
const LOCK: Command = Command::Lock { failures: crate::limit::CONSECUTIVE_FAILURES_MAX };

/// A verified guess on its way to be settled.
pub(super) struct Guess<'a> {
    email: &'a Email,
    pub(super) bucket: Bucket,
    /// Names the target within the bucket.
    target: Bucket,
    pub(super) reservation: Uuid,
    known_device: Option<DeviceId>,
    /// Whether there is an account that the hundredth failure locks.
    lockable: bool,
}

impl Doorbook {
    pub(super) async fn try_login(&self, login: &Login, context: &Context) -> Result<Tokens, Refusal> {
        self.hasher.room().await?;
        let owner = accounts::by_email(&self.db, &self.vault, &self.lookup().await?.keys_of(&login.email)).await?;
        let owner_id = owner.as_ref().map(|owner| owner.id);
        let known_device = self.known_device(login.device_token.as_deref(), owner_id).await?;
        let epoch = owner.as_ref().map_or(0, |owner| owner.account.session_epoch);
        let bucket = login_bucket(&login.email, known_device, epoch);
        let guess = guess(&login.email, owner.as_ref(), bucket, known_device);
        let network = network_bucket("login_network", &context.origin);
        let reserved = self.reserve(&guess, known_device.is_none().then_some(&network)).await;
        if matches!(reserved, Err(Refusal::Limited { .. })) {
            self.note_exceeded(&network, self.policy.login, &context.origin).await;
        }
        reserved?;
        crate::failpoint!("login.reserved");
        let secret = owner.as_ref().and_then(|owner| owner.secret.as_deref());
        let verified = match self.hasher.verify(secret, &login.password).await {
            Ok(verified) => verified,
            Err(error) => {
                self.give_back_unverified(&guess).await;
                return Err(error.into());
            }
        };
        crate::failpoint!("login.verified");
        let tokens = match self.judge(owner.as_ref(), verified.matches) {
            Err(failure) => return Err(self.settle_failure(&guess, owner_id, failure, context).await),
            Ok(owner) => {
                let settled = self.settle_success(&guess, owner, login.remember_device, context).await;
                settled.inspect_err(|refusal| self.give_back_unless_settled(refusal, &guess))?
            }
        };
        if verified.rehash
            && let Some(owner) = &owner
        {
            self.rehash(owner, &login.password, context).await;
        }
        Ok(tokens)
    }

    /// What was not verified does not count, even if the database is away as well.
    pub(super) async fn give_back_unverified(&self, guess: &Guess<'_>) {
        if self.give_back(&guess.bucket, guess.reservation).await.is_err() {
            self.give_back_later(&guess.bucket, guess.reservation);
        }
    }

    /// A right password that the database was away for is not to count against its owner.
    pub(super) fn give_back_unless_settled(&self, refusal: &Refusal, guess: &Guess<'_>) {
        if matches!(refusal, Refusal::Unavailable(_)) {
            self.give_back_later(&guess.bucket, guess.reservation);
        }
    }

    fn judge<'a>(&self, owner: Option<&'a Loaded>, matches: bool) -> Result<&'a Loaded, LoginFailure> {
        let owner = owner.ok_or(LoginFailure::UnknownAccount)?;
        if !matches {
            return Err(LoginFailure::WrongPassword);
        }
        if owner.account.status != Status::Active || owner.account.locked_at.is_some() || owner.data_key.is_none() {
            return Err(LoginFailure::AccountDisabled);
        }
        if owner.account.reset_required_at.is_some() {
            return Err(LoginFailure::ResetRequired);
        }
        if self.policy.registration_mode == RegistrationMode::Verified && owner.account.email_verified_at.is_none() {
            return Err(LoginFailure::EmailNotVerified);
        }
        Ok(owner)
    }

    async fn known_device(&self, token: Option<&str>, owner: Option<AccountId>) -> Result<Option<DeviceId>, Refusal> {
        let Some(presented) = token.and_then(|token| opaque::parse(Use::Device, token)) else { return Ok(None) };
        let device = DeviceId(presented.id);
        let Some(row) = sessions::device(&self.db, device).await? else { return Ok(None) };
        let genuine = opaque::verify(&self.roots, Use::Device, &row.key_id, &presented, &row.salt);
        Ok((genuine && Some(row.account_id) == owner).then_some(device))
    }

    /// Takes one of the guesses that are left, unless too many addresses were guessed at from the `network`.
    pub(super) async fn reserve(&self, guess: &Guess<'_>, network: Option<&Bucket>) -> Result<(), Refusal> {
        let rule = self.policy.login;
        retrying(async || {
            let since = self.now().minus(rule.window);
            let most = self.policy.login_address_max;
            let Entry { row, full_since, now } =
                counters::entry(&self.db, &self.vault, &guess.bucket, network, most, since).await?;
            if let Some(full_since) = full_since {
                return Err(Refusal::Limited { retry_after: wait(full_since.plus(rule.window), now) });
            }
            crate::failpoint!("login.read");
            let (mut counter, target) = (row.counter.clone(), row.target(&guess.target));
            if guess.lockable {
                counter = counter.unlocked(rule, now, target);
            }
            match counter.reserve(rule, now, guess.reservation, target) {
                Admission::Blocked { until } => Err(Refusal::Blocked { retry_after: wait(until, now) }),
                Admission::Busy => Err(Refusal::Busy),
                Admission::Granted(counter) => {
                    // Two commits would be for nothing: this one and its release.
                    self.hasher.has_room()?;
                    let mut write = Write::new();
                    write.put_counter(&row, &counter, counter.forgotten_at(rule, now));
                    self.clock.observe(write.run(&self.db).await?);
                    Ok(())
                }
            }
        })
        .await
    }

    /// The failure, its event and the block it may begin are one statement. Returns what the client is told.
    pub(super) async fn settle_failure(
        &self,
        guess: &Guess<'_>,
        owner: Option<AccountId>,
        reason: LoginFailure,
        context: &Context,
    ) -> Refusal {
        let settled = retrying(async || {
            let rule = self.policy.login;
            let (row, now) = counters::read(&self.db, &self.vault, &guess.bucket).await?;
            let failure = row.counter.clone().settle_failure(rule, now, guess.reservation);
            let mut batch = Batch::new(context, self.now());
            let mut locked = None;
            // Asked in every case: the question costs time.
            let loaded = accounts::by_id(&self.db, &self.vault, owner.unwrap_or(AccountId(Uuid::nil()))).await?;
            // Guards in order: account, minute, stream of attempts, counter.
            if failure.locked
                && let Some(loaded) = &loaded
                && let Ok(events) = decide(&loaded.account, LOCK)
                && !events.is_empty()
            {
                locked = batch.account(loaded, events, None)?.1.first().copied();
            }
            let mut events = vec![AttemptEvent::LoginFailed { reason }];
            events.extend(failure.blocked_until.map(|until| AttemptEvent::LoginBlocked { until }));
            let failed = Failed { email: guess.email, bucket: &guess.bucket, owner: loaded.as_ref() };
            let last = self.tell_failure(&mut batch, &failed, events, &row.keys, context).await?;
            if failure.locked || failure.blocked_until.is_some() {
                Self::look_at_guesses(&mut batch, locked.unwrap_or(last), context);
            }
            let forgotten = failure.counter.forgotten_at(rule, now);
            batch.write.put_counter(&row, &failure.counter, forgotten);
            let network = network_bucket("login_network", &context.origin);
            batch.write.put_member(&row.keys, &network, &identifier_bucket("login", guess.email), now);
            crate::failpoint!("login.settling");
            batch.commit(self).await?;
            self.tell_of_failure(guess.email, reason, failure.blocked_until.is_some(), context);
            Ok(())
        })
        .await;
        settled.err().unwrap_or(Refusal::InvalidCredentials)
    }

    async fn settle_success(
        &self,
        guess: &Guess<'_>,
        read: &Loaded,
        remember: bool,
        context: &Context,
    ) -> Result<Tokens, Refusal> {
        // As it was read before hashing: the write finds out whether it is so still.
        match self.begin_session(guess, read, remember, context).await {
            Err(Refusal::Unavailable(StoreError::Conflict)) => {}
            other => return other,
        }
        retrying(async || {
            let owner = accounts::by_id(&self.db, &self.vault, read.id).await?.ok_or(Refusal::InvalidCredentials)?;
            // The password was right for what was read before hashing. What has changed since then decides.
            if owner.account.session_epoch != read.account.session_epoch
                || owner.account.status != Status::Active
                || owner.account.locked_at.is_some()
            {
                return Err(self.settle_failure(guess, Some(read.id), LoginFailure::WrongPassword, context).await);
            }
            self.begin_session(guess, &owner, remember, context).await
        })
        .await
    }

    async fn begin_session(
        &self,
        guess: &Guess<'_>,
        owner: &Loaded,
        remember: bool,
        context: &Context,
    ) -> Result<Tokens, Refusal> {
        let data_key = owner.data_key.as_ref().ok_or(Refusal::InvalidCredentials)?;
        let context = context.clone().acting(owner.id);
        let buckets = [&guess.bucket, &notices::place(owner.id, &context)];
        let limit = i64::from(self.policy.sessions_max) + 10;
        let Beginning { rows: [row, place], live, now: counted_at } =
            counters::beginning(&self.db, &self.vault, buckets, owner.id, limit).await?;
        let now = self.now();
        let session = SessionId::new(now);
        let absolute_end = now.plus(self.policy.refresh_lifetime);
        let mut batch = Batch::new(&context, now);
        let (device, device_token) = self.device(&mut batch, guess, owner.id, remember);
        batch.write.begin_session(owner.id, owner.version, owner.logins);
        batch.write.open_stream(StreamId(session.0), StreamKind::Session, Some(owner.id), 1);
        let event = SessionEvent::LoggedIn {
            method: LoginMethod::Password,
            device,
            device_known: guess.known_device.is_some(),
            session_epoch: owner.account.session_epoch,
        };
        let cause = batch.event(
            StreamId(session.0),
            1,
            Some(owner.id),
            Some(session),
            Event::Session(event),
            Some(data_key),
        )?;
        let kept = usize::try_from(self.policy.sessions_max.saturating_sub(1)).unwrap_or(usize::MAX);
        for (surplus, version) in live.into_iter().skip(kept) {
            batch.end_session(owner.id, surplus, version, RevokeReason::Surplus, None, Some(data_key))?;
        }
        let (known_device, failures) = (guess.known_device.is_some(), row.counter.run(row.target(&guess.target)));
        let arrival = Arrival { owner, known_device, failures, place: &place, at: counted_at, cause };
        self.tell_of_login(&mut batch, &arrival, &context).await?;
        let rule = self.policy.login;
        let counter = row.counter.clone().settle_success(rule, counted_at, guess.reservation);
        batch.write.put_counter(&row, &counter, counter.forgotten_at(rule, counted_at));
        let salt = random();
        let origin = super::append::MailContext {
            at: now,
            address: context.origin.address.to_string(),
            user_agent: context.origin.user_agent.clone(),
            about: None,
        };
        batch.write.insert_session(NewSession {
            id: session,
            account: owner.id,
            session_epoch: owner.account.session_epoch,
            key_id: self.roots.current_id(),
            salt,
            device,
            origin: data_key.key.seal_json(session.0, &origin)?,
            created_at: now,
            absolute_end,
            idle_end: self.policy.session_idle.map(|idle| now.plus(idle)),
        });
        batch.write.touch_login(owner.id, now);
        crate::failpoint!("login.settling");
        batch.commit(self).await?;
        crate::failpoint!("login.committed");
        self.tokens(owner.id, session, 1, self.roots.current_id(), &salt, absolute_end, device_token)
    }

    fn device(
        &self,
        batch: &mut Batch<'_>,
        guess: &Guess<'_>,
        account: AccountId,
        remember: bool,
    ) -> (Option<DeviceId>, Option<OpaqueToken>) {
        if guess.known_device.is_some() || !remember {
            return (guess.known_device, None);
        }
        let (device, salt) = (DeviceId::new(batch.now), random());
        batch.write.insert_device(device, account, self.roots.current_id(), salt, batch.now);
        let token = opaque::derive(&self.roots, Use::Device, self.roots.current_id(), device.0, 0, &salt);
        (Some(device), token)
    }
}

pub(super) fn guess<'a>(
    email: &'a Email,
    owner: Option<&Loaded>,
    bucket: Bucket,
    known_device: Option<DeviceId>,
) -> Guess<'a> {
    let (target, reservation) = (login_target(email), Uuid::from_bytes(random()));
    Guess { email, bucket, target, reservation, known_device, lockable: owner.is_some_and(is_lockable) }
}

/// Whether a failure too many locks an account: it has not been locked, and is in use.
pub(super) fn is_lockable(owner: &Loaded) -> bool {
    decide(&owner.account, LOCK).is_ok_and(|events| !events.is_empty())
}

/// Who a guess is at.
pub(super) fn login_target(email: &Email) -> Bucket {
    Bucket::new("login_target", &[email.normal_form().as_bytes()])
}

/// A device has its own bucket, so that whoever fills the identifier's cannot lock its owner out; and a new one after a reset,
/// so that a block of the device ends like the identifier's.
pub(super) fn login_bucket(email: &Email, device: Option<DeviceId>, epoch: i64) -> Bucket {
    match device {
        None => identifier_bucket("login", email),
        Some(device) => {
            Bucket::new("login_device", &[email.limit_form().as_bytes(), device.0.as_bytes(), &epoch.to_be_bytes()])
        }
    }
}
