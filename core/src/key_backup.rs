//! The file that `doorbook keys backup` writes: schema `keys`, sealed in pieces.
//!
//! `MAGIC` ‖ file id (16 random bytes) ‖ pieces. A piece is its length (4 bytes, big endian) ‖ nonce ‖ ciphertext ‖ tag of
//! AES-256-GCM under the recipient's key; `MAGIC` ‖ file id ‖ number of the piece (8 bytes) ‖ 1 for the last piece, else 0, is
//! authenticated with it. So no piece can be changed, left out, moved, taken from another file, or be the end when it is not.
//! The first piece holds a `Head`, each other one an array of rows, all as JSON.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::seal::SealKey;
use crate::token::random;

const MAGIC: &[u8; 16] = b"doorbook-keys/1\n";
/// Longest sealed piece, in bytes; ours stay below a hundredth of it.
const PIECE_MAX: u32 = 16 * 1024 * 1024;

/// What the backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// By the database's clock, before the first row was read.
    pub taken_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("this is no backup of keys that this version can read")]
    Foreign,
    #[error("the backup does not open: another recipient key, or changed or missing bytes")]
    Closed,
}

struct Pieces {
    key: SealKey,
    file: [u8; 16],
    number: u64,
}

impl Pieces {
    fn associated(&mut self, last: bool) -> Vec<u8> {
        let number = self.number.to_be_bytes();
        self.number += 1;
        [MAGIC.as_slice(), &self.file, &number, &[u8::from(last)]].concat()
    }
}

pub struct Writer<W: Write> {
    to: W,
    pieces: Pieces,
}

impl<W: Write> Writer<W> {
    pub fn begin(mut to: W, recipient: &[u8; 32], head: Head) -> Result<Self, BackupError> {
        let file = random();
        to.write_all(MAGIC)?;
        to.write_all(&file)?;
        let mut writer = Self { to, pieces: Pieces { key: SealKey::new(recipient), file, number: 0 } };
        writer.piece(&head, false)?;
        Ok(writer)
    }

    pub fn rows(&mut self, rows: &[impl Serialize]) -> Result<(), BackupError> {
        self.piece(&rows, false)
    }

    /// Writes the last piece. Without it nothing reads the file as a whole one.
    pub fn end(mut self) -> Result<W, BackupError> {
        self.piece(&[(); 0], true)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn piece(&mut self, value: &impl Serialize, last: bool) -> Result<(), BackupError> {
        let plain = Zeroizing::new(serde_json::to_vec(value).map_err(io::Error::other)?);
        let associated = self.pieces.associated(last);
        let sealed = self.pieces.key.seal(&associated, &plain);
        let length = u32::try_from(sealed.len()).ok().filter(|length| *length <= PIECE_MAX);
        let length = length.ok_or_else(|| io::Error::other("a piece is too long"))?;
        self.to.write_all(&length.to_be_bytes())?;
        self.to.write_all(&sealed)?;
        Ok(())
    }
}

pub struct Reader<R: Read> {
    from: R,
    pieces: Pieces,
    over: bool,
}

impl<R: Read> Reader<R> {
    pub fn begin(mut from: R, recipient: &[u8; 32]) -> Result<(Self, Head), BackupError> {
        let (mut magic, mut file) = ([0; 16], [0; 16]);
        from.read_exact(&mut magic).and_then(|()| from.read_exact(&mut file)).map_err(|_| BackupError::Foreign)?;
        if magic != *MAGIC {
            return Err(BackupError::Foreign);
        }
        let pieces = Pieces { key: SealKey::new(recipient), file, number: 0 };
        let mut reader = Self { from, pieces, over: false };
        let head = reader.piece()?;
        Ok((reader, head))
    }

    /// The next rows; `None` behind the last piece. An end without one is an error.
    pub fn rows<T: DeserializeOwned>(&mut self) -> Result<Option<Vec<T>>, BackupError> {
        if self.over {
            return Ok(None);
        }
        let rows = self.piece()?;
        Ok(if self.over { None } else { Some(rows) })
    }

    fn piece<T: DeserializeOwned>(&mut self) -> Result<T, BackupError> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).map_err(|_| BackupError::Closed)?;
        let length = u32::from_be_bytes(length);
        if length > PIECE_MAX {
            return Err(BackupError::Closed);
        }
        let mut sealed = Vec::new();
        let read = (&mut self.from).take(length.into()).read_to_end(&mut sealed)?;
        if u32::try_from(read) != Ok(length) {
            return Err(BackupError::Closed);
        }
        let number = self.pieces.number;
        let plain = [false, true].into_iter().find_map(|last| {
            self.pieces.number = number;
            let associated = self.pieces.associated(last);
            self.pieces.key.open(&associated, &sealed).ok().map(|plain| (plain, last))
        });
        let (plain, last) = plain.ok_or(BackupError::Closed)?;
        if last && self.from.read(&mut [0])? != 0 {
            return Err(BackupError::Closed);
        }
        self.over = last;
        serde_json::from_slice(&plain).map_err(|_| BackupError::Foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(key: [u8; 32]) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), &key, Head { taken_at: Timestamp::from_seconds(7) }).unwrap();
        writer.rows(&["a", "b"]).unwrap();
        writer.rows(&["c"]).unwrap();
        writer.end().unwrap()
    }

    fn read(bytes: &[u8], key: [u8; 32]) -> Result<Vec<String>, BackupError> {
        let (mut reader, head) = Reader::begin(bytes, &key)?;
        assert_eq!(head.taken_at, Timestamp::from_seconds(7));
        let mut all = Vec::new();
        while let Some(rows) = reader.rows()? {
            all.extend::<Vec<String>>(rows);
        }
        Ok(all)
    }

    /// Where each piece begins, and the end.
    fn places(bytes: &[u8]) -> Vec<usize> {
        let mut places = vec![32];
        while let Some(length) = bytes[*places.last().unwrap()..].first_chunk::<4>() {
            places.push(places.last().unwrap() + 4 + usize::try_from(u32::from_be_bytes(*length)).unwrap());
        }
        places
    }

    #[test]
    fn what_is_written_is_read_with_its_key_alone() {
        let bytes = written([1; 32]);
        assert_eq!(read(&bytes, [1; 32]).unwrap(), ["a", "b", "c"]);
        assert!(matches!(read(&bytes, [2; 32]), Err(BackupError::Closed)));
        assert!(matches!(read(b"something else, long enough for a head", [1; 32]), Err(BackupError::Foreign)));
    }

    #[test]
    fn no_piece_can_be_changed_left_out_moved_or_brought_from_another_file() {
        let (bytes, other) = (written([1; 32]), written([1; 32]));
        let at = places(&bytes);
        assert_eq!(at.len(), 5, "head, two of rows, end");
        for place in 16..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(read(&changed, [1; 32]).is_err(), "byte {place}");
        }
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], [1; 32]).is_err(), "cut at {end}");
        }
        let piece = |index: usize| &bytes[at[index]..at[index + 1]];
        let without = [&bytes[..at[1]], piece(2), piece(3)].concat();
        let swapped = [&bytes[..at[1]], piece(2), piece(1), piece(3)].concat();
        let foreign = [&bytes[..at[1]], &other[at[1]..]].concat();
        let longer = [&bytes[..], &[0]].concat();
        for wrong in [without, swapped, foreign, longer] {
            assert!(read(&wrong, [1; 32]).is_err());
        }
    }
}
