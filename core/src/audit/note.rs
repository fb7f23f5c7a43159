//! Signed notes as C2SP describes them (c2sp.org/signed-note): a text, an empty line, and a line for each signature. Ed25519 alone.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Type of a key in key ids and verifier keys. Source: signed-note, "Signature types".
const TYPE_ED25519: u8 = 1;
/// How a line with a signature begins: an em dash and a blank.
const MARK: &str = "\u{2014} ";
const KEY_LENGTH: usize = 32;
const SIGNATURE_LENGTH: usize = 64;
/// A note with more lines of signatures than this is refused: each costs a verification.
const SIGNATURES_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("it is no signed note")]
    Shape,
    #[error("it is no verifier key: `name+id+key` was expected")]
    Key,
    #[error("it is no Ed25519 private key in PKCS#8 PEM")]
    PrivateKey,
    #[error("a key's name holds no blank and no plus sign, and is not empty")]
    Name,
}

/// First bytes of the hash of a name and a key: names a key in a signature.
pub type KeyId = [u8; 4];

/// A public key and whose it is; written as `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: [u8; KEY_LENGTH],
}

/// A private key and whose it is.
pub struct Signer {
    name: String,
    pair: Ed25519KeyPair,
}

/// One line with a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: KeyId,
    bytes: Vec<u8>,
}

/// A text with signatures, not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes that an even number of hexadecimal digits stand for.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

impl Verifier {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> KeyId {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.name.as_bytes());
        context.update(&[b'\n', TYPE_ED25519]);
        context.update(&self.key);
        let mut id = KeyId::default();
        id.copy_from_slice(&context.finish().as_ref()[..4]);
        id
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.key).verify(text.as_bytes(), signature).is_ok()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [[TYPE_ED25519].as_slice(), &self.key].concat();
        write!(f, "{}+{}+{}", self.name, hex(&self.id()), STANDARD.encode(key))
    }
}

impl FromStr for Verifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        // The key may hold plus signs, the name none.
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let [TYPE_ED25519, key @ ..] = key.as_slice() else { return Err(NoteError::Key) };
        let verifier = Self { name: name.to_owned(), key: key.try_into().map_err(|_| NoteError::Key)? };
        if is_name(name) && hex(&verifier.id()) == id { Ok(verifier) } else { Err(NoteError::Key) }
    }
}

impl Signer {
    /// From the 32 bytes that an Ed25519 private key is.
    pub fn from_seed(name: &str, seed: &[u8; KEY_LENGTH]) -> Result<Self, NoteError> {
        Self::new(name, Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::PrivateKey)?)
    }

    pub fn from_pem(name: &str, pem: &str) -> Result<Self, NoteError> {
        let body = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----");
        let body = body.and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----")).ok_or(NoteError::PrivateKey)?;
        let encoded = Zeroizing::new(body.split_whitespace().collect::<String>());
        let der = STANDARD.decode(encoded.as_bytes()).map(Zeroizing::new).map_err(|_| NoteError::PrivateKey)?;
        Self::new(name, Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| NoteError::PrivateKey)?)
    }

    fn new(name: &str, pair: Ed25519KeyPair) -> Result<Self, NoteError> {
        if is_name(name) { Ok(Self { name: name.to_owned(), pair }) } else { Err(NoteError::Name) }
    }

    /// # Panics
    /// Never: an Ed25519 public key is 32 bytes long.
    pub fn verifier(&self) -> Verifier {
        let key = self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key is 32 bytes long");
        Verifier { name: self.name.clone(), key }
    }
}

impl Note {
    /// A text, which ends in a line feed, signed by each of these.
    pub fn sign(text: String, signers: &[Signer]) -> Self {
        let sign = |signer: &Signer| Signature {
            name: signer.name.clone(),
            id: signer.verifier().id(),
            bytes: signer.pair.sign(text.as_bytes()).as_ref().to_vec(),
        };
        let signatures = signers.iter().map(sign).collect();
        Self { text, signatures }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Ids of the keys that it claims to be signed by.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.signatures.iter().map(|signature| signature.id).collect()
    }

    /// Whether one of these has signed it. A signature that claims to be by one of them and is not makes it false altogether.
    pub fn is_signed_by(&self, verifiers: &[Verifier]) -> bool {
        let mut signed = false;
        for signature in &self.signatures {
            let own = verifiers.iter().find(|known| known.name == signature.name && known.id() == signature.id);
            match own {
                Some(own) if own.verifies(&self.text, &signature.bytes) => signed = true,
                Some(_) => return false,
                None => {}
            }
        }
        signed
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Signature { name, id, bytes } in &self.signatures {
            writeln!(f, "{MARK}{name} {}", STANDARD.encode([id.as_slice(), bytes].concat()))?;
        }
        Ok(())
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        let end = note.rfind("\n\n").ok_or(NoteError::Shape)?;
        let (text, lines) = (&note[..=end], &note[end + 2..]);
        let lines: Vec<&str> = lines.strip_suffix('\n').ok_or(NoteError::Shape)?.split('\n').collect();
        if lines.len() > SIGNATURES_MAX || text.contains(|c: char| c.is_control() && c != '\n') {
            return Err(NoteError::Shape);
        }
        let signatures = lines.into_iter().map(signature).collect::<Option<_>>().ok_or(NoteError::Shape)?;
        Ok(Self { text: text.to_owned(), signatures })
    }
}

fn signature(line: &str) -> Option<Signature> {
    let (name, rest) = line.strip_prefix(MARK)?.split_once(' ')?;
    let bytes = STANDARD.decode(rest).ok()?;
    let (id, bytes) = bytes.split_first_chunk::<4>()?;
    // Of another type, which may be longer, nothing is known but that it is there.
    (is_name(name) && bytes.len() >= SIGNATURE_LENGTH).then(|| Signature {
        name: name.to_owned(),
        id: *id,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the package that the format comes from: golang.org/x/mod/sumdb/note.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn signer(byte: u8) -> Signer {
        Signer::from_seed("doorbook/log", &[byte; 32]).unwrap()
    }

    #[test]
    fn the_published_example_verifies_and_is_written_as_it_was_read() {
        let (note, key) = (GO_NOTE.parse::<Note>().unwrap(), GO_KEY.parse::<Verifier>().unwrap());
        assert!(note.is_signed_by(std::slice::from_ref(&key)));
        assert_eq!((note.to_string(), key.to_string()), (GO_NOTE.to_owned(), GO_KEY.to_owned()));
    }

    #[test]
    fn one_of_several_signatures_is_enough_and_a_false_one_of_a_known_key_is_too_many() {
        let note = Note::sign("a\n".to_owned(), &[signer(1), signer(2)]);
        let (one, two, other) = (signer(1).verifier(), signer(2).verifier(), signer(3).verifier());
        assert!(note.is_signed_by(std::slice::from_ref(&one)) && note.is_signed_by(&[other.clone(), two.clone()]));
        assert!(!note.is_signed_by(&[other]) && !note.is_signed_by(&[]));
        let mut forged = note.clone();
        forged.signatures[1].bytes[5] ^= 1;
        assert!(forged.is_signed_by(std::slice::from_ref(&one)) && !forged.is_signed_by(&[one.clone(), two]));
        let changed = Note { text: "b\n".to_owned(), ..note };
        assert!(!changed.is_signed_by(&[one]));
    }

    #[test]
    fn what_is_no_note_or_no_key_is_refused() {
        let note = Note::sign("a\n".to_owned(), &[signer(1)]).to_string();
        assert!(note.parse::<Note>().is_ok());
        for text in
            ["", "a\n", "a\n\n", "a\n\nb\n", note.trim_end(), &note.replace('\u{2014}', "-"), &note.replace('a', "\t")]
        {
            assert_eq!(text.parse::<Note>(), Err(NoteError::Shape), "{text:?}");
        }
        for text in ["", "a", "a+b+c", &GO_KEY.replace("c7", "c8"), &GO_KEY.replace("Peter", "Peter ")] {
            assert_eq!(text.parse::<Verifier>(), Err(NoteError::Key), "{text:?}");
        }
        assert!(Signer::from_seed("a b", &[1; 32]).is_err() && Signer::from_pem("a", "b").is_err());
    }
}
