//! What the tests of this package share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use doorbook_dev::{Client, Cluster, Mail, Stand, free_port};
use serde_json::{Value, json};
use tokio::time::sleep;

pub const PASSWORD: &str = "violet harbour 73";

/// Time for what should take seconds on a machine with nothing else to do.
pub const SOON: Duration = Duration::from_secs(30);

/// Api, worker and both operators' ports.
pub struct House {
    pub stand: Stand,
    pub api_ops: String,
    pub worker_ops: String,
}

pub async fn house(settings: &[(&str, &str)]) -> House {
    house_on(Cluster::shared().await.unwrap(), settings).await
}

pub async fn house_on(cluster: &Cluster, settings: &[(&str, &str)]) -> House {
    let [api, worker] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port().unwrap()));
    let ports = [("API_OPS_BIND", api.as_str()), ("WORKER_OPS_BIND", worker.as_str())];
    let stand = Stand::start_with(cluster, &[&ports, settings].concat()).await.unwrap();
    let mut house = House { stand, api_ops: format!("http://{api}"), worker_ops: format!("http://{worker}") };
    house.stand.worker.as_mut().unwrap().wait_ready(&house.worker_ops, SOON).await.unwrap();
    house
}

impl House {
    /// A client with an address of its own.
    pub fn client(&self) -> Client {
        self.stand.client().from_address(&somewhere())
    }

    pub fn worker_log(&self) -> String {
        self.stand.worker.as_ref().unwrap().log().unwrap()
    }

    pub async fn registered(&self) -> String {
        let email = someone();
        let body = json!({ "email": email, "password": PASSWORD, "password_confirm": PASSWORD });
        let answer = self.client().post("/api/auth/register/", body).await.unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        email
    }

    pub async fn login(&self, email: &str, password: &str) -> doorbook_dev::Answer {
        self.client().post("/api/auth/login/", json!({ "email": email, "password": password })).await.unwrap()
    }

    /// The token in the link of a mail to `email`, which starts with this.
    pub async fn mailed(&self, email: &str, prefix: &str) -> String {
        let token = |mail: &Mail| mail.token().filter(|token| token.starts_with(prefix));
        let mail = self.stand.sink.wait_for(|mail| mail.is_to(email) && token(mail).is_some(), SOON).await.unwrap();
        token(&mail).unwrap()
    }
}

fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub fn somewhere() -> String {
    let [_, b, c, d] = number().to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

pub fn someone() -> String {
    format!("q{}@example.com", number())
}

/// A folder that is gone after the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("doorbook-monitoring-{}-{}", std::process::id(), number()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The lines of a JSON log; each must be one object.
pub fn objects(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The samples of an operators' port, by name with labels.
pub async fn scrape(ops: &str) -> BTreeMap<String, f64> {
    let http = doorbook_dev::loopback().build().unwrap();
    let text = http.get(format!("{ops}/metrics")).send().await.unwrap().text().await.unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

/// Waits until the condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < SOON, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
