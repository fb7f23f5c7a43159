//! A Postgres that takes longer to let anybody in than a request waits for a connection.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use doorbook_dev::{Role, Stand};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::common::cluster;

/// How much later each answer of Postgres comes. A connection takes five of them, so longer than the 1.4 s that a request waits.
const LATER: Duration = Duration::from_millis(300);
/// Time until the service is of use.
const USEFUL_WITHIN: Duration = Duration::from_secs(30);

/// A way to the server on `port` on which every answer takes [`LATER`]; its own port.
async fn long_way_to(port: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            let ((mut asks, mut hears), (mut answers, mut takes)) = (client.into_split(), server.into_split());
            tokio::spawn(async move { copy(&mut asks, &mut takes).await });
            tokio::spawn(async move {
                let mut answer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = answers.read(&mut answer).await {
                    sleep(LATER).await;
                    if hears.write_all(&answer[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    own
}

/// Breaks when `core/src/store/db.rs`: `let Some(opening) = self.open_one_more() else { return self.pool.acquire().await };` → `let Some(opening) = None::<JoinHandle<sqlx::Result<PoolConnection<Postgres>>>> else { return self.pool.acquire().await };`.
#[tokio::test]
async fn connections_that_take_longer_than_a_request_waits_are_opened_all_the_same() {
    let stand = Stand::start_api(cluster().await, &[]).await.unwrap();
    let client = stand.client();
    let (email, password) = ("ana@example.com", "violet harbour 73");
    let body = json!({ "email": email, "password": password, "password_confirm": password });
    assert_eq!(client.post("/api/auth/register/", body).await.unwrap().status, 201);
    let login = client.post("/api/auth/login/", json!({ "email": email, "password": password })).await.unwrap();

    let port = long_way_to(cluster().await.postgres().port()).await;
    let far = stand.database.url_at(port, Role::Api);
    let (_api, base) = stand.another_api_with(&[("DATABASE_URL", &far)]).await.unwrap();
    let (client, began) = (client.at(&base).with_token(login.text("access")), Instant::now());
    loop {
        let mut reads = JoinSet::new();
        for _ in 0..8 {
            let client = client.clone();
            reads.spawn(async move { client.get("/api/auth/profile/").await.unwrap().status });
        }
        let statuses = reads.join_all().await;
        if statuses == [200; 8] {
            break;
        }
        assert!(began.elapsed() < USEFUL_WITHIN, "{statuses:?}");
    }
    println!("figure: eight reads at once succeed {} ms after the start", began.elapsed().as_millis());
}
