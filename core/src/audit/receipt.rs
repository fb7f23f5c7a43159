//! The receipt of an erasure: a signed note that says whose personal data went when, and until when a backup could still hold the key.
//! No checkpoint can be read from it: its second line is no number.

use uuid::Uuid;

use super::note::{Note, Signer};
use crate::clock::Timestamp;

/// What the first line says.
const KIND: &str = "doorbook erasure/v1";

/// Whether the text of a note is that of a receipt.
pub fn is_one(text: &str) -> bool {
    text.strip_prefix(KIND).is_some_and(|rest| rest.starts_with('\n'))
}

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Name of the log that holds the event.
    pub origin: String,
    pub account: Uuid,
    /// The `AccountErased`.
    pub event: Uuid,
    pub erased_at: Timestamp,
    /// The key that was deleted; none when the account had lost it before.
    pub data_key: Option<Uuid>,
    /// Backups of keys that are older than the erasure are to be gone by then.
    pub backups_until: Timestamp,
}

impl Receipt {
    pub fn sign(&self, signers: &[Signer]) -> Note {
        let Self { origin, account, event, .. } = self;
        let (erased_at, until) = (self.erased_at.rfc3339(), self.backups_until.rfc3339());
        let key = self.data_key.map_or_else(|| "none".to_owned(), |key| key.to_string());
        let text = format!(
            "{KIND}\nlog {origin}\naccount {account}\nevent {event}\nerased-at {erased_at}\ndata-key {key}\nkey-backups-until {until}\n"
        );
        Note::sign(text, signers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::Checkpoint;

    fn receipt() -> Receipt {
        Receipt {
            origin: "doorbook/log".to_owned(),
            account: Uuid::from_u128(1),
            event: Uuid::from_u128(2),
            erased_at: Timestamp::from_seconds(1_800_000_000),
            data_key: Some(Uuid::from_u128(3)),
            backups_until: Timestamp::from_seconds(1_802_592_000),
        }
    }

    #[test]
    fn a_receipt_names_account_event_key_and_times_and_is_verified_like_any_note() {
        let signer = Signer::from_seed("doorbook/log", &[1; 32]).unwrap();
        let text = receipt().sign(std::slice::from_ref(&signer)).to_string();
        let note: Note = text.parse().unwrap();
        assert!(note.is_signed_by(&[signer.verifier()]));
        assert_eq!(
            note.text(),
            "doorbook erasure/v1\nlog doorbook/log\naccount 00000000-0000-0000-0000-000000000001\n\
             event 00000000-0000-0000-0000-000000000002\nerased-at 2027-01-15T08:00:00Z\n\
             data-key 00000000-0000-0000-0000-000000000003\nkey-backups-until 2027-02-14T08:00:00Z\n"
        );
    }

    #[test]
    fn a_receipt_is_no_checkpoint_and_a_checkpoint_no_receipt() {
        let signers = [Signer::from_seed("doorbook/log", &[1; 32]).unwrap()];
        assert_eq!(Checkpoint::parse(receipt().sign(&signers).text()), None);
        let checkpoint = Checkpoint { origin: "doorbook/log".to_owned(), size: 1, root: [7; 32] };
        assert!(is_one(receipt().sign(&signers).text()) && !is_one(checkpoint.sign(&signers).text()));
    }
}
