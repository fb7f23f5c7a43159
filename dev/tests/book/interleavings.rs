//! Every order in which the statements of three clients can reach Postgres, one after the other. A step is a write and the reads
//! after it: what a client has read is as old as it can be when it writes.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::time::Duration;

use doorbook_core::failpoint::{Gate, Hold};

pub const CLIENTS: usize = 3;

pub type Client = Pin<Box<dyn Future<Output = String> + Send>>;

/// Three clients, what they begin from and what must be true at the end.
pub trait Scene {
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
pub async fn explore<S: Scene>(scene: &S, stride: usize) {
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
    println!("figure: {} of {} orders", orders.len().div_ceil(stride), orders.len());
}

/// All orders of the scene's steps, in lexical order.
pub fn interleavings<S: Scene>(_scene: &S) -> Vec<Vec<usize>> {
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
