//! Whether a mail may go where it goes now: one destination in trouble does not hold up the others (docs/adr/0023).

use super::Doorbook;
use crate::store::StoreError;
use crate::store::keys::identifiers::Bucket;
use crate::store::pacing::{self, CLOSED_FROM, Destination};
use crate::value::JobId;

/// A failure of the server, or silence at a recipient: two in a row close.
const HEAVY: i32 = 5;
/// An answer that refuses a recipient for now; one that greylists says so to every new recipient.
const LIGHT: i32 = 1;

/// Where a mail goes.
#[derive(Clone, Copy)]
pub struct Destinations {
    pub server: Destination,
    pub domain: Destination,
}

pub enum Admission {
    /// `troubled`: what had trouble before, to be told when the mail gets through.
    Go { troubled: Vec<Destination> },
    /// Until this one is open.
    Held(Destination),
}

/// Whose fault it is that a mail did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Server,
    /// The server answered, for this recipient.
    Refusal,
    /// Nobody answered, once the recipient was named.
    Silence,
}

impl Doorbook {
    pub fn destinations(&self, domain: &str) -> Destinations {
        let identifiers = self.vault.identifiers();
        let name = |about: &[&[u8]]| Destination(identifiers.name(&Bucket::new("mail", about)));
        Destinations { server: name(&[]), domain: name(&[domain.to_ascii_lowercase().as_bytes()]) }
    }

    /// Asks whether a mail may go. At a closed destination one mail at a time may, to find out whether it still is.
    pub async fn may_go(&self, to: Destinations) -> Result<Admission, StoreError> {
        let known = pacing::known(&self.db, [to.server, to.domain]).await?;
        let of = |destination: Destination| known.iter().find(|known| known.destination == destination.0);
        let closed = |destination: &Destination| of(*destination).is_some_and(|known| known.weight >= CLOSED_FROM);
        let [server, domain] = [to.server, to.domain];
        for destination in [server, domain].into_iter().filter(closed) {
            if !of(destination).is_some_and(|known| known.may_be_tried) {
                return Ok(Admission::Held(destination));
            }
        }
        // The server's last: whoever has it must go, or nobody may before it runs out.
        for destination in [domain, server].into_iter().filter(closed) {
            if !pacing::take_probe(&self.db, destination).await? {
                return Ok(Admission::Held(destination));
            }
        }
        let troubled = [server, domain].into_iter().filter(|it| of(*it).is_some_and(|known| known.weight > 0));
        Ok(Admission::Go { troubled: troubled.collect() })
    }

    /// Notes how it went: `None` when the server has spoken for good, one way or the other. `job` is the one to try anew when the
    /// trouble is over.
    pub async fn note_passage(
        &self,
        to: Destinations,
        troubled: &[Destination],
        trouble: Option<Trouble>,
        job: Option<JobId>,
    ) -> Result<(), StoreError> {
        let (destination, weight) = match trouble {
            Some(Trouble::Server) => (to.server, HEAVY),
            Some(Trouble::Silence) => (to.domain, HEAVY),
            Some(Trouble::Refusal) => (to.domain, LIGHT),
            None => return if troubled.is_empty() { Ok(()) } else { pacing::end_trouble(&self.db, troubled).await },
        };
        // A server that lets a recipient be named is there.
        if destination == to.domain && troubled.contains(&to.server) {
            pacing::end_trouble(&self.db, &[to.server]).await?;
        }
        pacing::add_trouble(&self.db, destination, weight, job).await
    }
}
