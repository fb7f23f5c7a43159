//! The little of DER (X.690) that keys need.

/// One element.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut out = vec![tag];
    if content.len() < 0x80 {
        out.push(u8::try_from(content.len()).unwrap_or(0));
    } else {
        out.push(0x80 | u8::try_from(length.len()).unwrap_or(0));
        out.extend(length);
    }
    out.extend(content);
    out
}

/// A positive integer.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if bytes.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    element(0x02, &[sign, bytes].concat())
}

/// Content of the first element, which must have this tag, and what comes after it.
pub(super) fn read(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[own, first], rest) = bytes.split_first_chunk::<2>()?;
    if own != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The whole of the bytes as one element.
pub(super) fn only(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    read(tag, bytes).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}
