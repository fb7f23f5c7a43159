//! The guide's own `.env`, filled in, starts both processes.

use std::time::Duration;

use doorbook_dev::{Launch, Role, free_port};

use crate::common::{JWT_SECRET_KEY, SECRET_KEY, cluster, deployment};

/// The blocks as the guide prints them, to the letter.
const REQUIRED_BLOCK: &str = include_str!("../../../core/tests/vectors/guide-required.env");
const OPTIONAL_BLOCK: &str = include_str!("../../../core/tests/vectors/guide-optional.env");

const READY_WITHIN: Duration = Duration::from_secs(60);

/// C063. Breaks when `core/src/config/dotenv.rs`: `let end = line.match_indices('#').find(is_comment).map_or(line.len(), |(at, _)| at);` → `let end = line.len();`.
#[tokio::test]
async fn the_guides_env_unchanged_but_for_its_placeholders_starts_api_and_worker() {
    let deployment = deployment().await;
    // One user for all, as the guide has it.
    let url = deployment.database.url_for(Role::Migrator).replacen("postgres://", "postgresql://", 1);
    let filled = [
        ("<50-character-random-string>", SECRET_KEY),
        ("<32-character-random-string>", JWT_SECRET_KEY),
        ("postgresql://user:password@host:5432/dbname", &url),
        ("<secure_username>", "audio_app"),
        ("<strong_password>", "r7Kx+2Vq9/Lw4Zn#B6y%Hs1=Gd8"),
        ("<db_host_or_rds_endpoint>", "audio.abc123.us-east-1.rds.amazonaws.com"),
        ("<sendgrid_api_key>", "SG.r7Kx2Vq9Lw4ZnB6y.Hs1Gd8Jf3"),
    ];
    let block = format!("{REQUIRED_BLOCK}\n{OPTIONAL_BLOCK}");
    let dotenv = filled.iter().fold(block, |text, (placeholder, value)| text.replace(placeholder, value));
    assert!(!dotenv.contains('<'));
    std::fs::write(deployment.folder.join(".env"), dotenv).unwrap();

    // What the guide leaves to defaults and two tests at once cannot share.
    let port = free_port().unwrap();
    let own = [
        ("API_BIND", format!("127.0.0.1:{port}")),
        ("API_OPS_BIND", deployment.environment["API_OPS_BIND"].clone()),
        ("WORKER_OPS_BIND", deployment.environment["WORKER_OPS_BIND"].clone()),
        ("REDIS_URL", deployment.environment["REDIS_URL"].clone()),
    ];
    let launch = async |name: &str| {
        let launch = Launch::workspace(name).await.unwrap().folder(&deployment.folder).envs(own.clone());
        launch.start(cluster().await.run()).unwrap()
    };
    let mut api = launch("doorbook-api").await;
    let mut worker = launch("doorbook-worker").await;
    let base = format!("http://127.0.0.1:{port}");
    api.wait_ready(&base, READY_WITHIN).await.unwrap();
    let client = doorbook_dev::loopback().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let health = async |path: &str| {
        let answer = client.get(format!("{base}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(health("/health").await, (200, r#"{"status":"ok"}"#.to_owned()));
    // Until the worker shows itself, readiness says degraded.
    for _ in 0..600 {
        if health("/health/ready").await.1.contains("ok") {
            break;
        }
        assert!(worker.exited().unwrap().is_none(), "{}", worker.log().unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(health("/health/ready").await.1, r#"{"status":"ok"}"#, "{}", worker.log().unwrap());

    // Behind a proxy that ends TLS, as the guide's nginx does.
    let behind_proxy = client.get(format!("{base}/api/auth/")).header("Host", "api.betancourtaudio.com");
    let answer = behind_proxy.header("X-Forwarded-Proto", "https").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000; includeSubDomains; preload");
    let plain = client.get(format!("{base}/api/auth/")).header("Host", "api.betancourtaudio.com").send().await.unwrap();
    assert_eq!(plain.headers()["location"], "https://api.betancourtaudio.com/api/auth/");
}
