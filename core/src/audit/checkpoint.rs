//! Checkpoints of the log in the form of c2sp.org/tlog-checkpoint: which log, how many events, the root over them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::note::{Note, Signer};
use super::tree::Hash;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, unique in the world.
    pub origin: String,
    /// Number of events, and so the last position.
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    pub fn sign(&self, signers: &[Signer]) -> Note {
        Note::sign(format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root)), signers)
    }

    /// Reads the text of a note. Further lines may follow; nothing here depends on them.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let digits = size.bytes().all(|byte| byte.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        if origin.is_empty() || !digits || lines.any(str::is_empty) {
            return None;
        }
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        Some(Self { origin: origin.to_owned(), size: size.parse().ok()?, root })
    }
}

/// What a file of checkpoints holds.
#[derive(Debug, Default)]
pub struct Collected {
    pub notes: Vec<Note>,
    /// Pieces that are no note: a write that was broken off, or a change.
    pub unreadable: usize,
}

/// Reads a file of notes one after the other, each followed by an empty line. A note that was cut off does not take the next along.
pub fn collect(text: &str) -> Collected {
    let (mut collected, mut piece, mut signatures) = (Collected::default(), String::new(), false);
    let mut end = |piece: &mut String| {
        let piece = std::mem::take(piece);
        match piece.parse() {
            Ok(note) => collected.notes.push(note),
            Err(_) => collected.unreadable += usize::from(!piece.trim().is_empty()),
        }
    };
    for line in text.split_inclusive('\n') {
        let signature = line.starts_with('\u{2014}');
        // Behind signatures, or behind the empty line that signatures should have followed, another note begins.
        if !signature && (signatures || piece.ends_with("\n\n")) {
            end(&mut piece);
        }
        if !(piece.is_empty() && line == "\n") {
            piece.push_str(line);
        }
        signatures = signature;
    }
    end(&mut piece);
    collected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(size: u64) -> Note {
        let checkpoint = Checkpoint { origin: "doorbook/log".to_owned(), size, root: [7; 32] };
        checkpoint.sign(&[Signer::from_seed("doorbook/log", &[1; 32]).unwrap()])
    }

    #[test]
    fn a_checkpoint_is_three_lines_and_is_read_as_it_was_written() {
        let text = "doorbook/log\n12\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
        assert_eq!(note(12).text(), text);
        let read = Checkpoint::parse(text).unwrap();
        assert_eq!((read.size, read.root), (12, [7; 32]));
        assert_eq!(Checkpoint::parse(&format!("{text}more\n")), Some(read));
        for bad in [text.replace("12", "012"), text.replace("12", "-1"), text.replace("Bw", ""), text.trim().to_owned()]
        {
            assert_eq!(Checkpoint::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_note_that_was_cut_off_does_not_take_the_next_one_along() {
        let (first, second) = (note(1).to_string(), note(2).to_string());
        let all = collect(&format!("{first}\n{second}\n"));
        assert_eq!((all.notes, all.unreadable), (vec![note(1), note(2)], 0));
        for cut in 1..first.len() - 1 {
            let Some(torn) = first.get(..cut) else { continue };
            let all = collect(&format!("{torn}\n\n{second}\n"));
            assert!(all.notes.last() == Some(&note(2)) && all.unreadable <= 1, "{cut}: {all:?}");
        }
        assert_eq!(collect("").unreadable, 0);
    }
}
