//! `doorbook check --url`: a running deployment behind a proxy that ends TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use doorbook_dev::{Launch, Program};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::common::*;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Ends TLS for `localhost` and tells the api so, one request a connection.
struct Proxy {
    port: u16,
    ca_file: PathBuf,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of `api`; the certificate ends on the given day.
    async fn start(deployment: &Deployment, api: &str, end: (i32, u8, u8)) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca_file = deployment.folder.join("ca.pem");
        std::fs::write(&ca_file, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);

        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (port, api) = (listener.local_addr().unwrap().port(), api.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that hangs up is no fault of the proxy.
                tokio::spawn(forward(stream, acceptor.clone(), api.clone()));
            }
        });
        Self { port, ca_file, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(stream: TcpStream, acceptor: TlsAcceptor, api: String) -> std::io::Result<()> {
    let mut client = BufReader::new(acceptor.accept(stream).await?);
    let mut first = String::new();
    client.read_line(&mut first).await?;
    let mut server = TcpStream::connect(api).await?;
    server.write_all(format!("{first}X-Forwarded-Proto: https\r\nConnection: close\r\n").as_bytes()).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// A running api, its deployment and a proxy before it.
async fn running(changes: &[(&str, &str)], end: (i32, u8, u8)) -> (Deployment, Program, Proxy) {
    let mut deployment = deployment().await;
    deployment.environment = deployment.with(changes);
    let environment = &deployment.environment;
    let launch = Launch::workspace("doorbook-api").await.unwrap().envs(environment.clone());
    let mut api = launch.start(cluster().await.run()).unwrap();
    api.wait_ready(&format!("http://{}", environment["API_BIND"]), READY_WITHIN).await.unwrap();
    let proxy = Proxy::start(&deployment, &environment["API_BIND"], end).await;
    (deployment, api, proxy)
}

async fn probe(deployment: &Deployment, proxy: &Proxy, more: &[&str]) -> Ran {
    let url = format!("https://localhost:{}", proxy.port);
    let port = deployment.environment["API_BIND"].rsplit_once(':').unwrap().1;
    let plain = format!("http://localhost:{port}");
    let ca_file = proxy.ca_file.to_str().unwrap();
    let arguments = ["check", "--json", "--url", &url, "--http-url", &plain, "--ca-file", ca_file];
    // No settings: who looks from outside has none.
    deployment.run(&[&arguments, more].concat(), &Environment::new()).await
}

/// Checks of this verdict but for the one that depends on how busy this machine is.
fn judged(ran: &Ran, verdict: &str) -> Vec<String> {
    assert!(ran.note("latency").contains("on average over 100 requests"), "{ran:?}");
    ran.with_verdict(verdict).into_iter().filter(|check| check != "latency").collect()
}

/// C063. Breaks when `cli/src/check/probe.rs`: `lines.extend(self.api(redirects).await);` → ``.
#[tokio::test]
async fn a_sound_deployment_passes_from_outside_with_an_account() {
    let (deployment, _api, proxy) = running(&[], (4096, 1, 1)).await;
    let ran = probe(&deployment, &proxy, &["--with-account"]).await;
    assert_eq!(judged(&ran, "fail"), [""; 0], "{ran:?}");
    // No worker runs.
    assert_eq!(judged(&ran, "warn"), ["readiness"], "{ran:?}");
    let ok = [
        "health",
        "https redirect",
        "api",
        "certificate",
        "security headers",
        "observatory score",
        "securityheaders grade",
        "admin",
        "account",
    ];
    assert_eq!(judged(&ran, "ok"), ok, "{ran:?}");
    assert_eq!(ran.status, i32::from(ran.with_verdict("fail") == ["latency"]));
    assert!(ran.note("observatory score").starts_with("A+"), "{ran:?}");
}

#[tokio::test]
async fn what_is_wrong_outside_fails_its_own_lines() {
    let changes = [
        ("SECURE_SSL_REDIRECT", "False"),
        ("SECURE_HSTS_SECONDS", "0"),
        ("SECURE_CONTENT_TYPE_NOSNIFF", "False"),
        ("REGISTRATION_MODE", "closed"),
    ];
    let (deployment, _api, proxy) = running(&changes, (4096, 1, 1)).await;
    let ran = probe(&deployment, &proxy, &["--with-account=ana@example.com"]).await;
    let failed = ["https redirect", "security headers", "observatory score", "securityheaders grade", "account"];
    assert_eq!((ran.status, judged(&ran, "fail")), (1, failed.map(str::to_owned).to_vec()), "{ran:?}");
    assert!(ran.note("account").contains("REGISTRATION_MODE"), "{ran:?}");
}

#[tokio::test]
async fn a_certificate_that_has_ended_or_is_nobodys_stops_the_probe() {
    let (deployment, _api, proxy) = running(&[], (2020, 1, 1)).await;
    let ran = probe(&deployment, &proxy, &[]).await;
    assert_eq!(ran.status, 1);
    assert!(ran.note("health").to_lowercase().contains("certificate"), "{ran:?}");
    let url = format!("https://localhost:{}", proxy.port);
    let untrusted = deployment.run(&["check", "--json", "--url", &url], &Environment::new()).await;
    assert!(untrusted.with_verdict("fail").contains(&"api".to_owned()), "{untrusted:?}");
}
