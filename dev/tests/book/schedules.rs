//! Three clients whose statements reach Postgres in every order come to what they come to one after the other.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::limit::Rule;
use doorbook_core::service::Doorbook;
use doorbook_core::service::login::Tokens;

use crate::common::*;
use crate::interleavings::{CLIENTS, Client, Scene, explore, interleavings};

/// A house, a service in it and a new account for each run.
struct Street {
    house: House,
    book: Arc<Doorbook>,
    number: std::sync::atomic::AtomicUsize,
}

impl Street {
    async fn new(change: impl FnOnce(&mut doorbook_core::service::Policy)) -> Self {
        let house = house().await;
        let book = house
            .book_with(
                policy_with(|policy| {
                    policy.registration.max = 1_000_000;
                    policy.login_address_max = 1_000_000;
                    change(policy);
                }),
                &secrets(),
            )
            .await;
        Self { house, book, number: std::sync::atomic::AtomicUsize::new(0) }
    }

    async fn resident(&self) -> String {
        let number = self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let address = format!("ana{number}@example.com");
        // Not the registration of the service: it keeps all its hits in one row, and a run needs a new account only.
        let operator = doorbook_core::service::Context::operator(uuid::Uuid::nil());
        let account = doorbook_core::service::admin::OperatorAccount {
            email: email(&address),
            password: password(PASSWORD),
            roles: vec![],
            locale: doorbook_core::value::Locale::En,
            reason: "test".into(),
        };
        self.book.create_account(&account, &operator).await.unwrap();
        address
    }

    async fn count(&self, sql: &'static str, address: &str) -> i64 {
        let account = self.book.find_account(&email(address)).await.unwrap().unwrap();
        sqlx::query_scalar(sql).bind(account.0).fetch_one(&self.house.owner).await.unwrap()
    }
}

const FAILED: &str = "select count(*) from events where subject_id = $1 and type = 'LoginFailed'";
const BLOCKED: &str = "select count(*) from events where subject_id = $1 and type = 'LoginBlocked'";
const LIVE: &str = "select count(*) from sessions where account_id = $1 and revoked_at is null";
const STALE: &str = "select count(*) from sessions s join streams t on t.stream_id = s.account_id
    where s.account_id = $1 and s.revoked_at is null and s.session_epoch <> t.session_epoch";

/// Guesses at one account that allows two failures.
struct Guesses<const RIGHT: usize> {
    street: Street,
}

impl<const RIGHT: usize> Scene for Guesses<RIGHT> {
    const STEPS: [usize; CLIENTS] = [3, 3, 3];
    const ALIKE: usize = RIGHT;
    const STOPS: &'static [&'static str] = &["login.read", "login.settling"];
    type Stage = String;

    async fn stage(&self) -> String {
        self.street.resident().await
    }

    /// Clients from number `RIGHT` on know the password.
    fn client(&self, address: &String, number: usize) -> Client {
        let (book, address) = (Arc::clone(&self.street.book), address.clone());
        let text = if number < RIGHT { OTHER_PASSWORD } else { PASSWORD };
        Box::pin(async move { word(&login(&book, &address, text).await).to_owned() })
    }

    async fn left(&self, address: &String, answers: &[Option<String>], _order: &[usize]) -> String {
        let verified = answers.iter().flatten().filter(|answer| *answer == "wrong").count();
        assert!(verified <= 2, "{verified} wrong guesses were verified");
        let failed = self.street.count(FAILED, address).await;
        assert_eq!(failed, i64::try_from(verified).unwrap(), "each failure has one event");
        let live = self.street.count(LIVE, address).await;
        let next = word(&login(&self.street.book, address, OTHER_PASSWORD).await);
        let blocks = self.street.count(BLOCKED, address).await;
        format!("{failed} failures, {live} sessions, {blocks} blocks after another guess: {next}")
    }

    /// As many guesses as are left were in flight: come back in a second.
    fn withdrawn(answer: &str) -> bool {
        answer == "busy"
    }
}

/// C011, C076. Breaks when `core/src/store/project/counters.rs`: `where bucket = {bucket} and version = {version} and {keys} and {{after}} returning 1` → `where bucket = {bucket} and version > 0 * {version} and {keys} and {{after}} returning 1`.
#[tokio::test]
async fn three_wrong_guesses_in_any_order_are_verified_twice() {
    let limit = Rule { max: 2, window: Duration::from_secs(300), block: Duration::from_secs(900) };
    let scene = Guesses::<3> { street: Street::new(|policy| policy.login = limit).await };
    assert_eq!(interleavings(&scene).len(), 280);
    explore(&scene, dose(20, 1)).await;
}

/// C011, C076. Breaks when `core/src/store/project/counters.rs`: `where bucket = {bucket} and version = {version} and {keys} and {{after}} returning 1` → `where bucket = {bucket} and version > 0 * {version} and {keys} and {{after}} returning 1`.
#[tokio::test]
async fn a_right_guess_among_wrong_ones_in_any_order_does_what_it_does_in_some_serial_order() {
    let limit = Rule { max: 2, window: Duration::from_secs(300), block: Duration::from_secs(900) };
    let scene = Guesses::<2> { street: Street::new(|policy| policy.login = limit).await };
    assert_eq!(interleavings(&scene).len(), 840);
    explore(&scene, dose(40, 1)).await;
}

/// Refreshes with one token, and perhaps the logout of its session.
struct Rotation<const REFRESHES: usize> {
    street: Street,
    /// Whether a second presentation is a theft: there is no grace.
    theft: bool,
}

impl<const REFRESHES: usize> Rotation<REFRESHES> {
    async fn new(change: impl FnOnce(&mut doorbook_core::service::Policy)) -> Self {
        Self { street: Street::new(change).await, theft: false }
    }
}

impl<const REFRESHES: usize> Scene for Rotation<REFRESHES> {
    const STEPS: [usize; CLIENTS] = [3, 3, 3];
    const ALIKE: usize = REFRESHES;
    const STOPS: &'static [&'static str] = &["refresh.presented", "refresh.read", "logout.read"];
    type Stage = (String, Arc<Tokens>);

    async fn stage(&self) -> Self::Stage {
        let address = self.street.resident().await;
        let tokens = login(&self.street.book, &address, PASSWORD).await.unwrap();
        (address, Arc::new(tokens))
    }

    fn client(&self, (_, tokens): &Self::Stage, number: usize) -> Client {
        let (book, tokens) = (Arc::clone(&self.street.book), Arc::clone(tokens));
        Box::pin(async move {
            if number >= REFRESHES {
                return word(&book.logout(tokens.refresh.expose(), &anywhere()).await).to_owned();
            }
            let answer = book.refresh(tokens.refresh.expose(), &anywhere()).await;
            answer
                .as_ref()
                .map_or_else(
                    |_| word(&answer),
                    |next| if next.refresh.expose() == tokens.refresh.expose() { "same" } else { "next" },
                )
                .to_owned()
        })
    }

    async fn left(&self, (address, _): &Self::Stage, _answers: &[Option<String>], _order: &[usize]) -> String {
        let live = self.street.count(LIVE, address).await;
        let generation = self.street.count("select max(generation) from sessions where account_id = $1", address).await;
        let mails = self.street.count("select count(*) from deliveries where account_id = $1", address).await;
        assert!(generation <= 2, "one token has one successor");
        if self.theft {
            assert_eq!((live, mails), (0, 1), "the family is over, and its owner is told once");
        }
        format!("{live} live, generation {generation}, {mails} mails")
    }
}

/// C026, C076. Breaks when `core/src/service/refresh.rs`: `            Presentation::Repeated => self.answer(&row, row.generation(), &row.key_id),` → `            Presentation::Repeated => Err(Refusal::Unauthenticated),`.
#[tokio::test]
async fn three_refreshes_with_one_token_in_any_order_make_one_successor() {
    let scene = Rotation::<3>::new(|_| {}).await;
    assert_eq!(interleavings(&scene).len(), 280);
    explore(&scene, dose(10, 1)).await;
}

/// C026, C076. Breaks when `core/src/service/refresh.rs`: `self.spend(presented, &[]).await?.ok_or(Refusal::Unavailable(StoreError::Conflict))` → `self.spend(presented, &[]).await?.ok_or_else(|| { let _ = StoreError::Conflict; Refusal::Unauthenticated })`.
#[tokio::test]
async fn three_refreshes_from_a_network_that_has_guessed_a_lot_in_any_order_make_one_successor() {
    let scene = Rotation::<3>::new(|_| {}).await;
    // As often as it may, and longer ago than counts.
    for _ in 0..20 {
        let guess = format!("dbr_{}", "A".repeat(70));
        assert_eq!(word(&scene.street.book.refresh(&guess, &anywhere()).await), "unauthenticated");
    }
    scene.street.house.age_limits(3_600).await;
    explore(&scene, dose(10, 1)).await;
}

/// C029, C076. Breaks when `core/src/service/refresh.rs`: `            Presentation::Ended => Err(Refusal::Unauthenticated),` → `            Presentation::Ended => self.answer(&row, row.generation(), &row.key_id),`.
#[tokio::test]
async fn two_refreshes_and_a_logout_in_any_order_do_what_some_serial_order_does() {
    let scene = Rotation::<2>::new(|_| {}).await;
    assert_eq!(interleavings(&scene).len(), 840);
    explore(&scene, dose(30, 1)).await;
}

/// C035, C076. Breaks when `core/src/service/refresh.rs`: `                self.end_reused(&row, presented.generation, context).await?;` → `                let _ = Self::end_reused(self, &row, presented.generation, context);`.
#[tokio::test]
async fn three_refreshes_without_a_grace_end_the_family_once() {
    let scene = Rotation::<3> { theft: true, ..Rotation::new(|policy| policy.refresh_grace = Duration::ZERO).await };
    explore(&scene, dose(10, 1)).await;
}

/// A login, a logout from everywhere and a refresh of the session that was there before.
struct Revoke {
    street: Street,
}

impl Scene for Revoke {
    const STEPS: [usize; CLIENTS] = [3, 2, 2];
    const ALIKE: usize = 0;
    const STOPS: &'static [&'static str] = &["login.read", "login.settling", "revoke.read", "refresh.presented"];
    type Stage = (String, Arc<Tokens>);

    async fn stage(&self) -> Self::Stage {
        let address = self.street.resident().await;
        let tokens = login(&self.street.book, &address, PASSWORD).await.unwrap();
        (address, Arc::new(tokens))
    }

    fn client(&self, (address, tokens): &Self::Stage, number: usize) -> Client {
        let (book, address, tokens) = (Arc::clone(&self.street.book), address.clone(), Arc::clone(tokens));
        Box::pin(async move {
            match number {
                0 => word(&login(&book, &address, PASSWORD).await).to_owned(),
                1 => {
                    let caller = holder(&book, &tokens).await;
                    word(&book.logout_all(caller, None, &anywhere()).await).to_owned()
                }
                _ => word(&book.refresh(tokens.refresh.expose(), &anywhere()).await).to_owned(),
            }
        })
    }

    async fn left(&self, (address, tokens): &Self::Stage, _answers: &[Option<String>], order: &[usize]) -> String {
        let ended = |client: usize| order.iter().position(|other| *other == client);
        let live = self.street.count(LIVE, address).await;
        assert_eq!(self.street.count(STALE, address).await, 0, "a session was begun in an epoch that is over");
        if ended(1).is_some() {
            assert_eq!(alive(&self.street.book, tokens).await, (false, false), "the session of before is over");
            if ended(0) < ended(1) {
                assert_eq!(live, 0, "a session begun before the logout outlived it");
            }
        }
        format!("{live} live")
    }

    /// A login that meets a logout from everywhere between its proof and its write is refused.
    fn withdrawn(answer: &str) -> bool {
        answer == "wrong"
    }
}

/// C030. Breaks when `core/src/store/log.rs`: `logins = {logins} and version = {expected}` → `logins = {logins}`.
#[tokio::test]
async fn a_login_a_refresh_and_a_logout_from_everywhere_in_any_order_leave_nothing_behind_that_should_be_over() {
    let scene = Revoke { street: Street::new(|_| {}).await };
    assert_eq!(interleavings(&scene).len(), 210);
    explore(&scene, dose(7, 1)).await;
}
