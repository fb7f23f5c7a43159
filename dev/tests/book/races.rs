//! What must hold when two ask at the same time: real races, many rounds, on two processes.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::failpoint::Gate;
use doorbook_core::limit::Rule;
use doorbook_core::service::access::Caller;
use doorbook_core::service::admin::{Intervention, Order};
use doorbook_core::service::login::Tokens;
use doorbook_core::service::{Context, Doorbook};
use doorbook_core::value::AccountId;
use doorbook_dev::Cluster;
use sqlx::{Connection, PgConnection};

use crate::common::*;

const ANA: &str = "ana@example.com";

/// Whoever logs in often enough to lose several races in a row is told to come back: no limit shall interfere here.
fn unlimited() -> doorbook_core::service::Policy {
    let minute = Duration::from_secs(60);
    policy_with(|policy| policy.login = Rule { max: 10_000, window: minute, block: minute })
}

async fn two_books(house: &House) -> [Arc<Doorbook>; 2] {
    [house.book_with(unlimited(), &secrets()).await, house.book_with(unlimited(), &secrets()).await]
}

/// Logs in as often as it takes to lose no more races to other logins.
async fn persistent_login(book: &Doorbook, text: &str) -> Result<Tokens, &'static str> {
    loop {
        let answer = login(book, ANA, text).await;
        match word(&answer) {
            "conflict" => {}
            other => return answer.map_err(|_| other),
        }
    }
}

/// What ends sessions while a login is under way.
#[derive(Clone, Copy, Debug)]
enum End {
    Change,
    Disable,
    LogoutAll,
}

impl End {
    async fn run(self, book: &Doorbook, account: AccountId, caller: Caller, texts: [&str; 2]) {
        let operator = Context::operator(uuid::Uuid::nil());
        loop {
            let (old, new) = (password(texts[0]), password(texts[1]));
            let result = match self {
                Self::Change => book.change_password(caller, &old, &new, None, &anywhere()).await,
                Self::Disable => {
                    let disable = Order::new(Intervention::Disable, "race");
                    book.command_account(account, &disable, &operator).await.map(|_| ())
                }
                Self::LogoutAll => book.logout_all(caller, None, &anywhere()).await,
            };
            match word(&result) {
                "ok" => return,
                "conflict" => {}
                other => panic!("{self:?}: {other}"),
            }
        }
    }
}

/// Several logins race one end. Whatever session they got is over afterwards, or was begun after it, which only a
/// logout from everywhere allows.
async fn no_session_outlives(end: End) {
    let house = house().await;
    let books = two_books(&house).await;
    register(&books[0], ANA).await.unwrap();
    let account = books[0].find_account(&email(ANA)).await.unwrap().unwrap();
    let (mut text, mut next) = (PASSWORD, OTHER_PASSWORD);
    for round in 0..dose(60, 1_000) {
        house.age_limits(3_601).await;
        let base = persistent_login(&books[0], text).await.unwrap();
        let caller = holder(&books[0], &base).await;
        let racers = (0..3).map(|n| {
            let book = Arc::clone(&books[n % 2]);
            async move { persistent_login(&book, text).await.ok() }
        });
        // Now early, now late in the logins.
        let delay = Duration::from_micros(u64::try_from(round % 20).unwrap() * 700);
        let (sessions, ()) = tokio::join!(together(racers), async {
            tokio::time::sleep(delay).await;
            end.run(&books[1], account, caller, [text, next]).await;
        });
        let begun_after = house.live_sessions_of_the_present().await;
        let mut in_force = 0;
        for tokens in sessions.iter().flatten() {
            let (access, refresh) = alive(&books[round % 2], tokens).await;
            assert_eq!(access, refresh, "round {round}: half a session survived {end:?}");
            in_force += i64::from(access);
        }
        match end {
            End::Change => {
                assert_eq!(in_force, 0, "round {round}");
                (text, next) = (next, text);
            }
            End::Disable => {
                assert_eq!(in_force, 0, "round {round}");
                let enable = Order::new(Intervention::Enable, "race");
                books[0].command_account(account, &enable, &Context::operator(uuid::Uuid::nil())).await.unwrap();
            }
            End::LogoutAll => assert_eq!(in_force, begun_after, "round {round}"),
        }
        assert_eq!(house.stale_sessions().await, 0, "round {round}: the rows say what is so");
    }
}

impl House {
    /// Sessions of the account's present epoch that are not revoked.
    async fn live_sessions_of_the_present(&self) -> i64 {
        self.number(
            "select count(*) from sessions s join streams t on t.stream_id = s.account_id and t.session_epoch = s.session_epoch
             where s.revoked_at is null",
        )
        .await
    }

    /// Sessions of an epoch that is over, whose rows do not say so.
    async fn stale_sessions(&self) -> i64 {
        self.number(
            "select count(*) from sessions s join streams t on t.stream_id = s.account_id and t.session_epoch <> s.session_epoch
             where s.revoked_at is null",
        )
        .await
    }
}

/// C030. Breaks when `core/src/store/log.rs`: `logins = {logins} and version = {expected}` → `logins = {logins}`.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_begun_with_the_old_password_outlives_its_change() {
    no_session_outlives(End::Change).await;
}

/// C030. Breaks when `core/src/store/log.rs`: `logins = {logins} and version = {expected}` → `logins = {logins}`.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_outlives_the_disabling_of_its_account() {
    no_session_outlives(End::Disable).await;
}

/// C030. Breaks when `core/src/store/log.rs`: `logins = {logins} and version = {expected}` → `logins = {logins}`.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_outlives_a_logout_from_everywhere() {
    no_session_outlives(End::LogoutAll).await;
}

/// C031. Breaks when `core/src/store/log.rs`: `logins = {logins} and version = {expected}` → `version = {expected}`.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_sessions_as_allowed_remain_after_many_logins_at_once() {
    let house = house().await;
    let three = || {
        let mut policy = unlimited();
        policy.sessions_max = 3;
        policy
    };
    let books = [house.book_with(three(), &secrets()).await, house.book_with(three(), &secrets()).await];
    register(&books[0], ANA).await.unwrap();
    // Known devices, each with a bucket of its own: only the account's row keeps their logins apart.
    let mut devices = Vec::new();
    for _ in 0..12 {
        devices.push(login(&books[0], ANA, PASSWORD).await.unwrap().device.unwrap().expose().to_owned());
    }
    let rounds = dose(5, 50);
    for round in 0..rounds {
        // From none: logins that end a surplus session already meet at its row.
        let account = books[0].find_account(&email(ANA)).await.unwrap().unwrap();
        let revoke = Order::new(Intervention::RevokeSessions, "race");
        books[0].command_account(account, &revoke, &Context::operator(uuid::Uuid::nil())).await.unwrap();
        let (mut tasks, mut holds) = (Vec::new(), Vec::new());
        for (n, device) in devices.iter().enumerate() {
            let (gate, mut hold) = Gate::new(&["login.settling"]);
            let login = login_on_device(Arc::clone(&books[n % 2]), device.clone());
            tasks.push(tokio::spawn(gate.around(login)));
            assert!(hold.arrived().await.is_some());
            holds.push(hold);
        }
        // Each has seen an account without sessions.
        for hold in holds {
            hold.pass();
        }
        let sessions = together(tasks).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
        let mut in_force = 0;
        for tokens in &sessions {
            in_force += i64::from(books[0].authenticate(&tokens.access).await.is_ok());
        }
        assert_eq!(in_force, 3, "round {round}");
        assert_eq!(house.number("select count(*) from sessions where revoked_at is null").await, 3, "round {round}");
    }
    let ended_by_hand = 3 * i64::from(rounds);
    let surplus = house.events("LoggedIn").await - ended_by_hand - 3;
    assert_eq!(house.events("SessionRevoked").await, surplus, "each surplus session ends with an event");
}

/// As often as it takes to lose no more races to other logins.
async fn login_on_device(book: Arc<Doorbook>, device: String) -> Tokens {
    loop {
        let answer = login_from(&book, ANA, PASSWORD, Some(device.clone()), &anywhere()).await;
        if word(&answer) != "conflict" {
            return answer.unwrap();
        }
    }
}

/// A login that holds the account's row when the end's statement begins is not in that statement's snapshot.
/// C030. Breaks when `core/src/store/log.rs`: `version = {expected} and logins = {logins} and` → `version = {expected} and`.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_begun_while_an_end_waits_for_the_account_is_ended_too() {
    let house = house().await;
    let books = two_books(&house).await;
    register(&books[0], ANA).await.unwrap();
    let base = login(&books[0], ANA, PASSWORD).await.unwrap();
    let caller = holder(&books[0], &base).await;

    let mut lock = house.owner.begin().await.unwrap();
    sqlx::query("select from streams where kind = 'account' for update").execute(&mut *lock).await.unwrap();
    let racer = tokio::spawn({
        let book = Arc::clone(&books[0]);
        async move { login(&book, ANA, PASSWORD).await }
    });
    house.waiting(1).await;
    let end = tokio::spawn({
        let book = Arc::clone(&books[1]);
        async move { book.logout_all(caller, None, &anywhere()).await }
    });
    house.waiting(2).await;
    lock.rollback().await.unwrap();

    let tokens = racer.await.unwrap().unwrap();
    end.await.unwrap().unwrap();
    assert_eq!(alive(&books[0], &tokens).await, (false, false));
    assert_eq!(house.stale_sessions().await, 0);
    assert_eq!(books[0].list_sessions(caller).await.unwrap().len(), 0);
}

impl House {
    /// Returns when so many statements wait for a lock in this database.
    async fn waiting(&self, statements: i64) {
        // Only a superuser is shown what others wait for.
        let url = Cluster::shared().await.unwrap().superuser_url(self.database.name());
        let mut superuser = PgConnection::connect(&url).await.unwrap();
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let reached = async {
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut superuser).await.unwrap() < statements {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reached).await.unwrap();
    }
}
