//! Every process is restarted in turn, behind the proxies as `deploy` configures them, while people use the service.

use std::time::{Duration, Instant};

use doorbook_dev::proxy::{Certificate, Front, Proxy};
use doorbook_dev::{Cluster, Launch, Program, Stand, free_port};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::common::*;
use crate::load::Load;

/// Requests a second. Source: bar 6.
const RATE: u32 = 100;
/// Source: bar 6.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// Time for a proxy to see that an api is back, before the next one goes. Source: `docs/OPERATIONS.md`.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// One at a time: each takes what a small machine has.
static TURN: Mutex<()> = Mutex::const_new(());

/// Two apis at fixed addresses and two workers.
struct Fleet {
    cluster: &'static Cluster,
    stand: Stand,
    apis: Vec<(Program, String)>,
    workers: Vec<(Program, String)>,
}

impl Fleet {
    async fn start() -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let settings = [("SECURE_SSL_REDIRECT", "False"), ("MAX_REGISTRATION_ATTEMPTS", "100000")];
        let mut stand = Stand::start_api(cluster, &settings).await.unwrap();
        stand.api.kill().await.unwrap();
        let (mut apis, mut workers) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            apis.push(stand.another_api().await.unwrap());
            let address = format!("127.0.0.1:{}", free_port().unwrap());
            workers.push((worker(cluster, &stand, &address).await, address));
        }
        Self { cluster, stand, apis, workers }
    }

    async fn proxy(&self, front: Front) -> Proxy {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["auth.example.com".to_owned()]).unwrap();
        let (chain, key) = (certificate.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let ports: Vec<u16> =
            self.apis.iter().map(|(_, base)| base.rsplit(':').next().unwrap().parse().unwrap()).collect();
        Proxy::start(self.cluster.run(), front, &ports, Certificate { chain: &chain, key: &key }).await.unwrap()
    }

    async fn restart_apis(&mut self) {
        for (api, base) in &mut self.apis {
            end(api).await;
            *api = self.stand.api_at(base, &[]).await.unwrap();
            sleep(SEEN_WITHIN).await;
        }
    }

    async fn restart_workers(&mut self) {
        for (program, address) in &mut self.workers {
            end(program).await;
            *program = worker(self.cluster, &self.stand, address).await;
        }
    }
}

async fn end(program: &mut Program) {
    program.terminate().unwrap();
    let ended = program.ended(ENDS_WITHIN).await.unwrap();
    assert!(ended.success(), "{ended}");
}

/// A worker that is ready.
async fn worker(cluster: &Cluster, stand: &Stand, address: &str) -> Program {
    let launch = Launch::workspace("doorbook-worker").await.unwrap().envs(stand.environment().iter().cloned());
    let mut worker = launch.env("WORKER_OPS_BIND", address).start(cluster.run()).unwrap();
    worker.wait_ready(&format!("http://{address}"), SOON).await.unwrap();
    worker
}

async fn restart_everything(front: Front, with_workers: bool) {
    let _turn = TURN.lock().await;
    let mut fleet = Fleet::start().await;
    let proxy = fleet.proxy(front).await;
    let base = format!("http://127.0.0.1:{}", proxy.http);
    // A proxy that has just started has not asked its apis yet.
    until("the proxy sends requests on", async || status(&format!("{base}/health")).await == Some(200)).await;
    sleep(SEEN_WITHIN).await;
    let (load, began) = (Load::begin(&base, RATE).await, Instant::now());
    sleep(Duration::from_millis(500)).await;
    for _ in 0..dose(1, 20) {
        fleet.restart_apis().await;
        if with_workers {
            fleet.restart_workers().await;
        }
    }
    let took = began.elapsed();
    let sent = load.end().await;
    let rate = f64::from(u32::try_from(sent.requests).unwrap()) / took.as_secs_f64();
    let slowest = sent.slowest.as_millis();
    println!(
        "figure: {front:?}: {} requests, {rate:.0} a second, {} failed, the slowest {slowest} ms",
        sent.requests,
        sent.failures.len()
    );
    sent.assert_whole();
    for email in &sent.registered {
        fleet.stand.sink.wait_for(|mail| mail.is_to(email), SOON).await.unwrap();
    }
    println!("figure: {front:?}: {} mails, 0 lost", sent.registered.len());
}

/// C108. Breaks when `deploy/haproxy/doorbook.cfg`: `fall 2 rise 2` → `fall 2 rise 200`.
#[tokio::test]
async fn no_request_fails_and_no_mail_is_lost_while_everything_behind_haproxy_is_restarted_in_turn() {
    restart_everything(Front::Haproxy, true).await;
}

/// C108. Breaks when `deploy/nginx/doorbook.conf`: `server 127.0.0.1:8000 fail_timeout=1s;` → `server 127.0.0.1:8000 fail_timeout=60s;`.
#[tokio::test]
async fn no_request_fails_while_the_apis_behind_nginx_are_restarted_in_turn() {
    restart_everything(Front::Nginx, dose(false, true)).await;
}
