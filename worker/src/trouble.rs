//! One line when something begins to fail, one a minute while it does, one when it is over: a server that is away for an hour
//! must not fill the disk of those who wait for it.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// Pause between two lines about the same trouble.
const REPEAT_EVERY: Duration = Duration::from_mins(1);

/// The state of one thing that is tried again and again.
pub struct Trouble {
    what: &'static str,
    since: Option<Instant>,
    told: Option<Instant>,
}

impl Trouble {
    pub const fn new(what: &'static str) -> Self {
        Self { what, since: None, told: None }
    }

    pub fn observe<T>(&mut self, result: &Result<T, impl Display>) {
        match result {
            Ok(_) => self.worked(),
            Err(error) => self.failed(error),
        }
    }

    pub fn failed(&mut self, error: &impl Display) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if self.told.is_none_or(|told| now.duration_since(told) >= REPEAT_EVERY) {
            self.told = Some(now);
            let seconds = now.duration_since(since).as_secs();
            tracing::warn!(what = self.what, %error, seconds, "fails; tried again until it works");
        }
    }

    /// Whether it failed when it was last tried.
    pub const fn persists(&self) -> bool {
        self.since.is_some()
    }

    pub fn worked(&mut self) {
        if let Some(since) = self.since.take() {
            self.told = None;
            tracing::info!(what = self.what, seconds = since.elapsed().as_secs(), "works again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn trouble_persists_from_the_first_failure_to_the_next_success() {
        let mut trouble = Trouble::new("a test");
        trouble.observe(&Ok::<_, String>(()));
        assert!(!trouble.persists());
        trouble.observe(&Err::<(), _>("away"));
        tokio::time::advance(2 * REPEAT_EVERY).await;
        trouble.failed(&"still away");
        assert!(trouble.persists());
        trouble.worked();
        assert!(!trouble.persists());
    }
}
