//! Every order in which the statements of three clients can reach Postgres, one after the other. A step is a write and the reads
//! after it: what a client has read is as old as it can be when it writes.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use doorbook_core::failpoint::{Gate, Hold};
use doorbook_core::limit::Rule;
use doorbook_core::service::Doorbook;
use doorbook_core::service::login::Tokens;

use crate::common::*;

const CLIENTS: usize = 3;

type Client = Pin<Box<dyn Future<Output = String> + Send>>;

/// Three clients, what they begin from and what must be true at the end.
trait Scene {
    /// Statements that write, or the last read before one: how often each client is stopped, and its end.
    const STEPS: [usize; CLIENTS];
    /// So many of the first clients do the same: orders that differ only in which of them is which are one.
    const ALIKE: usize;
    const STOPS: &'static [&'static str];
    type Stage;

    async fn stage(&self) -> Self::Stage;
    fn client(&self, stage: &Self::Stage, number: usize) -> Client;
    /// What is left behind, in words; panics when it must not be. `order`: clients by the time they ended.
    async fn left(&self, stage: &Self::Stage, answers: &[Option<String>], order: &[usize]) -> String;
    /// An answer that a client may get in no serial order, if all is then as though it had not come.
    fn withdrawn(_answer: &str) -> bool {
        false
    }
}

/// What one run came to: each client's answer, and what was left behind.
type Outcome = (Vec<Option<String>>, String);

/// Runs every order of the scene, or every `stride`-th, and asserts that each comes to what some serial order comes to.
async fn explore<S: Scene>(scene: &S, stride: usize) {
    let mut serial: HashMap<Vec<usize>, HashSet<Outcome>> = HashMap::new();
    let orders = interleavings(scene);
    for (number, order) in orders.iter().enumerate() {
        if number % stride != 0 {
            continue;
        }
        let outcome = run(scene, order).await;
        let withdrew: Vec<bool> =
            outcome.0.iter().map(|answer| answer.as_deref().is_some_and(|text| S::withdrawn(text))).collect();
        let present: Vec<usize> = (0..CLIENTS).filter(|client| !withdrew[*client]).collect();
        let answers = outcome.0.iter().zip(&withdrew).map(|(answer, gone)| answer.clone().filter(|_| !gone)).collect();
        if !serial.contains_key(&present) {
            let possible = one_after_the_other(scene, &present).await;
            serial.insert(present.clone(), possible);
        }
        let possible = &serial[&present];
        assert!(
            possible.contains(&(answers, outcome.1.clone())),
            "order {order:?} came to {outcome:?}; one after the other they come to {possible:?}"
        );
    }
}

/// All orders of the scene's steps, in lexical order.
fn interleavings<S: Scene>(_scene: &S) -> Vec<Vec<usize>> {
    fn extend(left: [usize; CLIENTS], alike: usize, order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left == [0; CLIENTS] {
            all.push(order.clone());
            return;
        }
        for client in 0..CLIENTS {
            let begun = |client: usize| order.contains(&client);
            if left[client] == 0 || (client < alike && client > 0 && !begun(client) && !begun(client - 1)) {
                continue;
            }
            let mut rest = left;
            rest[client] -= 1;
            order.push(client);
            extend(rest, alike, order, all);
            order.pop();
        }
    }
    let mut all = Vec::new();
    extend(S::STEPS, S::ALIKE, &mut Vec::new(), &mut all);
    all
}

/// What the clients named come to when each ends before the next begins, in every order.
async fn one_after_the_other(scene: &impl Scene, present: &[usize]) -> HashSet<Outcome> {
    let mut orders = vec![vec![]];
    for _ in present {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                present
                    .iter()
                    .filter(|client| !order.contains(client))
                    .map(|client| [order.as_slice(), &[*client]].concat())
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    let mut outcomes = HashSet::new();
    for order in orders {
        // More steps than any client has: each runs to its end.
        let steps: Vec<usize> = order.iter().flat_map(|client| [*client; 10]).collect();
        outcomes.insert(run(scene, &steps).await);
    }
    outcomes
}

/// One run: lets the clients make one step each in the given order, then those that are not done yet one after the other.
async fn run<S: Scene>(scene: &S, order: &[usize]) -> Outcome {
    let stage = scene.stage().await;
    let mut clients: Vec<Held> = (0..CLIENTS).map(|number| Held::new(S::STOPS, scene.client(&stage, number))).collect();
    let (mut answers, mut ended) = (vec![None; CLIENTS], Vec::new());
    let present: HashSet<usize> = order.iter().copied().collect();
    // A conflict gives a client more steps than were planned for; how many is bounded by its retries.
    let rest = (0..CLIENTS).filter(|client| present.contains(client)).flat_map(|client| [client; 20]);
    for client in order.iter().copied().chain(rest) {
        if let Some(answer) = clients[client].step().await {
            answers[client] = Some(answer);
            ended.push(client);
        }
    }
    assert_eq!(ended.len(), present.len(), "every client came to its end");
    let left = scene.left(&stage, &answers, &ended).await;
    (answers, left)
}

/// A client behind its gate.
struct Held {
    hold: Hold,
    waiting: Option<Pin<Box<dyn Future<Output = String> + Send>>>,
    task: Option<tokio::task::JoinHandle<String>>,
}

impl Held {
    fn new(stops: &'static [&'static str], client: Client) -> Self {
        let (gate, hold) = Gate::new(stops);
        Self { hold, waiting: Some(Box::pin(gate.around(client))), task: None }
    }

    /// Goes on to the next stop or to the end. The answer, once: when this step was the last.
    async fn step(&mut self) -> Option<String> {
        match self.waiting.take() {
            Some(client) => self.task = Some(tokio::spawn(client)),
            None if self.task.is_none() => return None,
            None => self.hold.pass(),
        }
        let stop = tokio::time::timeout(Duration::from_secs(10), self.hold.arrived()).await;
        match stop.expect("a client that was let on stops or ends") {
            Some(_) => None,
            None => Some(self.task.take()?.await.expect("a client does not panic")),
        }
    }
}

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

/// C030. Breaks when `core/src/store/log.rs`: `session_epoch = {epoch} and logins = {logins}` → `logins = {logins}`.
#[tokio::test]
async fn a_login_a_refresh_and_a_logout_from_everywhere_in_any_order_leave_nothing_behind_that_should_be_over() {
    let scene = Revoke { street: Street::new(|_| {}).await };
    assert_eq!(interleavings(&scene).len(), 210);
    explore(&scene, dose(7, 1)).await;
}
