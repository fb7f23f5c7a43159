//! The wish to end, told to every loop of the process at once.

use std::time::Duration;

use tokio::sync::watch;

/// Ends every holder of the matching [`Stop`].
#[derive(Clone)]
pub struct Switch(watch::Sender<bool>);

/// Whether the process is to end. Cheap to clone, one a loop.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

pub fn pair() -> (Switch, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Switch(sender), Stop(receiver))
}

impl Switch {
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    pub fn requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the end is wished for, or when nobody is left who could wish for it.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|requested| *requested).await;
    }

    /// Lets `time` pass. False as soon as the process is to end.
    pub async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.wait() => false,
            () = tokio::time::sleep(time) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_ends_at_once_when_the_process_is_to_end() {
        let (switch, stop) = pair();
        assert!(stop.pause(Duration::from_millis(1)).await);
        switch.request();
        assert!(!stop.pause(Duration::from_hours(1)).await);
        assert!(stop.requested());
    }
}
