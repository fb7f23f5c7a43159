//! The worker's sign of life: the api's readiness and the console read how Redis and mail fare from it.

use std::sync::Arc;
use std::time::Duration;

use doorbook_core::service::Doorbook;
use doorbook_core::service::health::Health;
use doorbook_core::store::jobs;
use doorbook_core::token::random;

use crate::queue::Queue;
use crate::runner::Runner;
use crate::stop::Stop;
use crate::trouble::Trouble;

/// Source: design 1.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// A name that no process had before: host, process id and chance, since containers share both.
pub fn process_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let chance = u32::from_be_bytes(random());
    format!("{host}-{}-{chance:08x}", std::process::id())
}

/// Beats until `stop`, or until a newer release's schema serves this one no more: what its statements would do then is not known.
pub async fn run(doorbook: Arc<Doorbook>, queue: Arc<Queue>, runner: Arc<Runner>, process: String, stop: Stop) {
    let mut trouble = Trouble::new("the heartbeat");
    loop {
        let redis = queue.health().await.map_or_else(|error| error, |()| "ok".to_owned());
        match jobs::heartbeat(&doorbook.db, &process, &redis, &runner.mail_state()).await {
            Ok(now) => {
                doorbook.clock.observe(now);
                trouble.worked();
                if doorbook.health().await == Health::Outdated {
                    return;
                }
            }
            Err(error) => trouble.failed(&error),
        }
        if !stop.pause(BEAT_EVERY).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_starts_of_one_process_id_have_different_names() {
        assert_ne!(process_name(), process_name());
    }
}
