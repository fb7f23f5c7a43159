//! Opaque tokens: `prefix ‖ base64url(id ‖ generation ‖ row salt ‖ HMAC(key of this use, id ‖ generation ‖ row salt))`. The row keeps
//! id, key id and salt; the key is not in the database and the salt not in the environment, so neither alone makes a token. That the
//! salt stands in the token lets a forged refresh token be told before its session is read, and a genuine one be spent by a single
//! statement that asks for its salt.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::keys::{RootRing, Use};

/// Bytes of a row's salt.
pub const SALT_LENGTH: usize = 16;
const ID_LENGTH: usize = 16;
const GENERATION_LENGTH: usize = 4;
/// Of the 32 of HMAC-SHA-256, as RFC 2104 allows: 128 bits that can be guessed at only by asking here.
const MAC_LENGTH: usize = 16;
const LENGTH: usize = ID_LENGTH + GENERATION_LENGTH + SALT_LENGTH + MAC_LENGTH;
/// Characters of any opaque token: four of prefix and 70 of base64url.
pub const TOKEN_LENGTH: usize = 4 + LENGTH.div_ceil(3) * 4 - (3 - LENGTH % 3) % 3;

/// A token as it leaves the house. It is never stored, queued or logged.
pub struct OpaqueToken(Zeroizing<String>);

impl OpaqueToken {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpaqueToken(…)")
    }
}

/// A well-formed token from outside, not yet believed.
pub struct Presented {
    pub id: Uuid,
    pub generation: u32,
    pub salt: [u8; SALT_LENGTH],
    mac: [u8; MAC_LENGTH],
}

impl Presented {
    /// Whether the row with this salt made it, if its MAC holds. In constant time.
    pub fn is_of(&self, salt: &[u8]) -> bool {
        verify_slices_are_equal(&self.salt, salt).is_ok()
    }

    fn mac_holds(&self, key: &hmac::Key) -> bool {
        let mac = mac(key, self.id, self.generation, &self.salt);
        verify_slices_are_equal(&mac, &self.mac).is_ok()
    }
}

const fn prefix(purpose: Use) -> &'static str {
    match purpose {
        Use::Refresh => "dbr_",
        Use::Reset => "dbp_",
        Use::Verify => "dbv_",
        Use::Change => "dbe_",
        Use::Undo => "dbu_",
        Use::Cancel => "dbc_",
        Use::NotMe => "dbn_",
        Use::Device => "dbd_",
        Use::Cursor => "dbx_",
        Use::Idempotency => "dby_",
        Use::Csrf => "dbf_",
    }
}

fn mac(key: &hmac::Key, id: Uuid, generation: u32, salt: &[u8]) -> [u8; MAC_LENGTH] {
    let whole = hmac::sign(key, &[id.as_bytes().as_slice(), &generation.to_be_bytes(), salt].concat());
    let mut first = [0; MAC_LENGTH];
    first.copy_from_slice(&whole.as_ref()[..MAC_LENGTH]);
    first
}

/// The token of a row; the same each time it is asked for. `None` when the ring no longer holds the row's key.
pub fn derive(
    ring: &RootRing,
    purpose: Use,
    key_id: &str,
    id: Uuid,
    generation: u32,
    salt: &[u8],
) -> Option<OpaqueToken> {
    let mac = mac(ring.key(key_id, purpose)?, id, generation, salt);
    let bytes = Zeroizing::new([id.as_bytes().as_slice(), &generation.to_be_bytes(), salt, &mac].concat());
    let mut token = Zeroizing::new(String::with_capacity(TOKEN_LENGTH));
    token.push_str(prefix(purpose));
    URL_SAFE_NO_PAD.encode_string(&*bytes, &mut token);
    Some(OpaqueToken(token))
}

/// Reads a token's shape. `None` for anything that this use could not have made, whatever its length.
pub fn parse(purpose: Use, text: &str) -> Option<Presented> {
    if text.len() != TOKEN_LENGTH {
        return None;
    }
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.strip_prefix(prefix(purpose))?).ok()?);
    let (id, rest) = bytes.split_first_chunk::<ID_LENGTH>()?;
    let (generation, rest) = rest.split_first_chunk::<GENERATION_LENGTH>()?;
    let (salt, mac) = rest.split_first_chunk::<SALT_LENGTH>()?;
    Some(Presented {
        id: Uuid::from_bytes(*id),
        generation: u32::from_be_bytes(*generation),
        salt: *salt,
        mac: mac.try_into().ok()?,
    })
}

/// Whether the row that `salt` and `key_id` belong to made this token, in constant time. False once its key has been dropped.
pub fn verify(ring: &RootRing, purpose: Use, key_id: &str, presented: &Presented, salt: &[u8]) -> bool {
    let key = ring.key(key_id, purpose);
    // The same work for a dropped key, so that time does not tell it from a forged token.
    let holds = presented.mac_holds(key.unwrap_or_else(|| ring.current_key(purpose)));
    presented.is_of(salt) && holds && key.is_some()
}

/// Whether any key of the ring made this token, for whatever row: nobody else did.
pub fn is_ours(ring: &RootRing, purpose: Use, presented: &Presented) -> bool {
    ring.ids().any(|id| ring.key(id, purpose).is_some_and(|key| presented.mac_holds(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> RootRing {
        RootRing::new(&[1; 50], &[&[2; 50]])
    }

    #[test]
    fn a_row_makes_the_same_token_again_and_only_its_own_key_and_salt_verify_it() {
        let (ring, id, salt) = (ring(), Uuid::from_u128(7), [3; SALT_LENGTH]);
        let token = derive(&ring, Use::Reset, ring.current_id(), id, 0, &salt).unwrap();
        let again = derive(&ring, Use::Reset, ring.current_id(), id, 0, &salt).unwrap();
        assert_eq!(token.expose(), again.expose());
        assert_eq!(token.expose().len(), TOKEN_LENGTH);
        let presented = parse(Use::Reset, token.expose()).unwrap();
        assert!(verify(&ring, Use::Reset, ring.current_id(), &presented, &salt));
        assert!(!verify(&ring, Use::Reset, ring.current_id(), &presented, &[4; SALT_LENGTH]));
        assert!(!verify(&RootRing::new(&[9; 50], &[]), Use::Reset, ring.current_id(), &presented, &salt));
        assert!(is_ours(&ring, Use::Reset, &presented) && !is_ours(&ring, Use::Verify, &presented));
        for place in 0..LENGTH {
            let mut bytes = URL_SAFE_NO_PAD.decode(&token.expose()[4..]).unwrap();
            bytes[place] ^= 1;
            let changed = parse(Use::Reset, &format!("dbp_{}", URL_SAFE_NO_PAD.encode(bytes))).unwrap();
            assert!(!is_ours(&ring, Use::Reset, &changed), "byte {place}");
            assert!(!verify(&ring, Use::Reset, ring.current_id(), &changed, &changed.salt), "byte {place}");
        }
        assert!(!verify(&ring, Use::Verify, ring.current_id(), &presented, &salt));
    }

    #[test]
    fn a_token_of_one_use_does_not_parse_as_another_and_no_other_length_parses() {
        let (ring, salt) = (ring(), [3; SALT_LENGTH]);
        let token = derive(&ring, Use::Reset, ring.current_id(), Uuid::from_u128(7), 0, &salt).unwrap();
        assert!(parse(Use::Verify, token.expose()).is_none());
        assert!(parse(Use::Reset, &token.expose()[..TOKEN_LENGTH - 1]).is_none());
        assert!(parse(Use::Reset, &format!("{}A", token.expose())).is_none());
        assert!(parse(Use::Reset, "").is_none());
    }

    #[test]
    fn a_dropped_key_verifies_nothing() {
        let (old, id, salt) = (RootRing::new(&[2; 50], &[]), Uuid::from_u128(7), [3; SALT_LENGTH]);
        let token = derive(&old, Use::Refresh, old.current_id(), id, 1, &salt).unwrap();
        let presented = parse(Use::Refresh, token.expose()).unwrap();
        assert!(verify(&ring(), Use::Refresh, old.current_id(), &presented, &salt), "a fallback still verifies");
        assert!(is_ours(&ring(), Use::Refresh, &presented));
        assert!(!is_ours(&RootRing::new(&[1; 50], &[]), Use::Refresh, &presented));
        assert!(!verify(&RootRing::new(&[1; 50], &[]), Use::Refresh, old.current_id(), &presented, &salt));
    }
}
