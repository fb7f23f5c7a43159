//! A way to Postgres that is long, and on which what is asked is counted.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

pub struct Way {
    /// How much later each answer comes, in milliseconds.
    pub later: AtomicU64,
    /// Times that something was asked.
    pub asked: AtomicU64,
    /// Connections that have come this way.
    pub taken: AtomicU64,
    /// So many of the first of them are swallowed: nothing gets through on them, and nobody is told.
    pub swallowed: AtomicU64,
}

impl Way {
    pub fn later(millis: u64) -> Arc<Self> {
        let [later, asked, taken, swallowed] = [millis, 0, 0, 0].map(AtomicU64::new);
        Arc::new(Self { later, asked, taken, swallowed })
    }

    /// Begins at the port that it gives, and leads to the server on `port`.
    pub async fn to(self: &Arc<Self>, port: u16) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let way = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                let ((mut asks, mut hears), (mut answers, mut takes)) = (client.into_split(), server.into_split());
                let (there, back, number) =
                    (Arc::clone(&way), Arc::clone(&way), way.taken.fetch_add(1, Ordering::Relaxed));
                tokio::spawn(async move {
                    let mut question = vec![0; 64 * 1024];
                    while let Ok(read @ 1..) = asks.read(&mut question).await {
                        there.asked.fetch_add(1, Ordering::Relaxed);
                        if number < there.swallowed.load(Ordering::Relaxed) {
                            continue;
                        }
                        if takes.write_all(&question[..read]).await.is_err() {
                            break;
                        }
                    }
                });
                tokio::spawn(async move {
                    let mut answer = vec![0; 64 * 1024];
                    while let Ok(read @ 1..) = answers.read(&mut answer).await {
                        sleep(Duration::from_millis(back.later.load(Ordering::Relaxed))).await;
                        if hears.write_all(&answer[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        own
    }
}
