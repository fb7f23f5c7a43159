//! Is Redis there?

use std::time::Duration;

use doorbook_core::config::Redis;
use doorbook_core::config::check::Line;

use super::deploy::unseen;

const CHECK: &str = "redis";

/// Time to connect, log in and answer.
const TIMEOUT: Duration = Duration::from_secs(5);

pub async fn line(redis: Option<&Redis>) -> Line {
    let Some(redis) = redis else { return unseen(CHECK, "its address was refused") };
    match tokio::time::timeout(TIMEOUT, ping(redis.url.expose())).await {
        Ok(Ok(())) => Line::ok(CHECK, "reachable"),
        Ok(Err(error)) => Line::fail(CHECK, format!("{error}: check REDIS_URL and the server")),
        Err(_) => {
            Line::fail(CHECK, format!("no answer within {} s: check REDIS_URL and the server", TIMEOUT.as_secs()))
        }
    }
}

async fn ping(url: &str) -> redis::RedisResult<()> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("PING").exec_async(&mut connection).await
}
