//! Where a search goes on: a position, signed together with what is searched for and by whom, so that a cursor continues its own
//! search and no other.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::{RootRing, Use};

const POSITION_LENGTH: usize = 8;
const MAC_LENGTH: usize = 16;

fn message(position: i64, search: &str) -> Vec<u8> {
    [&position.to_be_bytes(), search.as_bytes()].concat()
}

pub fn write(ring: &RootRing, position: i64, search: &str) -> String {
    let tag = hmac::sign(ring.current_key(Use::Cursor), &message(position, search));
    URL_SAFE_NO_PAD.encode([&position.to_be_bytes(), &tag.as_ref()[..MAC_LENGTH]].concat())
}

/// The position, if we made this cursor for this search, with any key that is still in force.
pub fn read(ring: &RootRing, text: &str, search: &str) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == POSITION_LENGTH + MAC_LENGTH)?;
    let (position, mac) = bytes.split_at(POSITION_LENGTH);
    let position = i64::from_be_bytes(position.try_into().ok()?);
    let message = message(position, search);
    let is_ours = ring.ids().filter_map(|id| ring.key(id, Use::Cursor)).any(|key| {
        let tag = hmac::sign(key, &message);
        bool::from(subtle::ConstantTimeEq::ct_eq(&tag.as_ref()[..MAC_LENGTH], mac))
    });
    is_ours.then_some(position)
}
