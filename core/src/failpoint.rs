//! Named places where a test stops the process, delays it or makes it panic. Without the `failpoints` feature the macro is empty;
//! only the dev package, which is in no release image, turns that feature on. What a point does to a whole process is read once
//! from `DOORBOOK_FAILPOINTS`: `login.committed=kill,refresh.committed=pause:250`. A test in the same process holds single tasks
//! with a [`Gate`].

#[cfg(feature = "failpoints")]
pub use gate::{Gate, Hold};

#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub async fn reach(name: &'static str) {
    static POINTS: std::sync::OnceLock<Vec<(String, String)>> = std::sync::OnceLock::new();
    gate::wait(name).await;
    let points = POINTS.get_or_init(|| {
        crate::config::failpoints()
            .split(',')
            .filter_map(|point| point.split_once('='))
            .map(|(n, a)| (n.trim().into(), a.trim().into()))
            .collect()
    });
    let Some((_, action)) = points.iter().find(|(point, _)| point == name) else { return };
    match action.split_once(':') {
        Some(("pause", millis)) => {
            tokio::time::sleep(std::time::Duration::from_millis(millis.parse().unwrap_or(0))).await;
        }
        _ if action == "kill" => std::process::abort(),
        _ if action == "panic" => panic!("failpoint {name}"),
        _ => tracing::error!(name, action, "unknown failpoint action"),
    }
}

/// Marks a place that tests can stop at. Whether it does anything is for this crate's feature to say: a condition inside the macro
/// would ask the caller's.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint::reach($name).await;
    };
}

#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {};
}

#[cfg(feature = "failpoints")]
mod gate {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, mpsc};

    tokio::task_local! {
        static GATE: Gate;
    }

    /// Stops one task at some of its points until its [`Hold`] lets it go on.
    #[derive(Clone)]
    pub struct Gate {
        stops: &'static [&'static str],
        arrivals: mpsc::UnboundedSender<&'static str>,
        passes: Arc<Semaphore>,
    }

    /// The other side of a gate.
    pub struct Hold {
        arrivals: mpsc::UnboundedReceiver<&'static str>,
        passes: Arc<Semaphore>,
    }

    impl Gate {
        /// A gate that stops at the points named in `stops`; the task runs through all others.
        pub fn new(stops: &'static [&'static str]) -> (Self, Hold) {
            let (sender, receiver) = mpsc::unbounded_channel();
            let passes = Arc::new(Semaphore::new(0));
            (Self { stops, arrivals: sender, passes: Arc::clone(&passes) }, Hold { arrivals: receiver, passes })
        }

        /// Runs `task` behind this gate.
        pub async fn around<F: Future>(self, task: F) -> F::Output {
            GATE.scope(self, task).await
        }
    }

    impl Hold {
        /// The point that the task stands at; `None` once it has ended. Waits until it is the one or the other.
        pub async fn arrived(&mut self) -> Option<&'static str> {
            self.arrivals.recv().await
        }

        /// Lets the task go on from one point.
        pub fn pass(&self) {
            self.passes.add_permits(1);
        }
    }

    pub(super) async fn wait(name: &'static str) {
        let Ok(gate) = GATE.try_with(Clone::clone) else { return };
        if !gate.stops.contains(&name) || gate.arrivals.send(name).is_err() {
            return;
        }
        if let Ok(pass) = gate.passes.acquire().await {
            pass.forget();
        }
    }
}
