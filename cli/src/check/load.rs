//! Mean time of an answer under a little load, as the guide measures it with `ab -n 100 -c 10`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use doorbook_core::config::check::Line;
use tokio::task::JoinSet;

const CHECK: &str = "latency";

const REQUESTS: u32 = 100;
const AT_ONCE: u32 = 10;

/// Source: the guide.
const MEAN_MAX: Duration = Duration::from_millis(500);

/// Sends the requests and judges them; any answer that is not 2xx fails.
pub async fn line(client: &reqwest::Client, url: &str) -> Line {
    let taken = Arc::new(AtomicU32::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, url, taken) = (client.clone(), url.to_owned(), Arc::clone(&taken));
        senders.spawn(async move {
            let mut took = Vec::new();
            while taken.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                let started = Instant::now();
                client.get(&url).send().await?.error_for_status()?.bytes().await?;
                took.push(started.elapsed());
            }
            Ok::<_, reqwest::Error>(took)
        });
    }
    let mut took = Vec::new();
    while let Some(sender) = senders.join_next().await {
        match sender {
            Ok(Ok(times)) => took.extend(times),
            Ok(Err(error)) => return Line::fail(CHECK, format!("an answer failed: {}", error.without_url())),
            Err(error) => return Line::fail(CHECK, error.to_string()),
        }
    }
    judge(&took)
}

fn judge(took: &[Duration]) -> Line {
    let count = u32::try_from(took.len()).unwrap_or(u32::MAX);
    if count == 0 {
        return Line::fail(CHECK, "nothing was measured");
    }
    let mean = took.iter().sum::<Duration>() / count;
    let note = format!("{} ms on average over {count} requests, {AT_ONCE} at a time", mean.as_millis());
    if mean < MEAN_MAX {
        Line::ok(CHECK, note)
    } else {
        Line::fail(CHECK, format!("{note}: look at the machine, the network and the database"))
    }
}

#[cfg(test)]
mod tests {
    use doorbook_core::config::check::Verdict;

    use super::*;

    #[test]
    fn the_mean_decides_and_not_one_slow_answer() {
        let all = |milliseconds: u64| vec![Duration::from_millis(milliseconds); 100];
        assert_eq!((judge(&all(499)).verdict, judge(&all(500)).verdict), (Verdict::Ok, Verdict::Fail));
        let mut one_slow = all(10);
        one_slow[0] = Duration::from_secs(20);
        assert_eq!(judge(&one_slow).verdict, Verdict::Ok);
        assert_eq!(judge(&[]).verdict, Verdict::Fail);
    }
}
