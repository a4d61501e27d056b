//! A checksum within a file, over the whole file: what holds tensors and their description is sealed when it is written,
//! and a single changed bit is found when it is read.
//!
//! The description of a sealed file holds `blake3:` and 64 digits. They are the BLAKE3 hash of the file in which these
//! digits are zeros. No other text of that form may stand before them.

use thiserror::Error;

/// What a description holds until [`seal`] puts the digits in.
pub(crate) const BLANK: &str =
    "blake3:0000000000000000000000000000000000000000000000000000000000000000";

/// What the digits follow.
const MARK: &[u8] = b"blake3:";
const DIGITS: usize = 64;

/// A file that differs from its checksum.
#[derive(Debug, Error)]
#[error("its contents differ from its checksum: it was changed or damaged after it was written")]
pub(crate) struct Broken;

/// Puts the checksum of a file that holds [`BLANK`] into it.
pub(crate) fn seal(bytes: &mut [u8]) {
    if let Some(start) = digits(bytes) {
        let checksum = checksum(bytes, start);
        bytes[start..start + DIGITS].copy_from_slice(checksum.as_bytes());
    }
}

/// Whether a file is sealed and intact; `false` if it has no checksum.
///
/// # Errors
/// [`Broken`] if it differs from its checksum.
pub(crate) fn check(bytes: &[u8]) -> Result<bool, Broken> {
    match digits(bytes) {
        None => Ok(false),
        Some(start) if bytes[start..start + DIGITS] == *checksum(bytes, start).as_bytes() => {
            Ok(true)
        }
        Some(_) => Err(Broken),
    }
}

/// Where the digits of the checksum start.
fn digits(bytes: &[u8]) -> Option<usize> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let found = bytes
        .windows(MARK.len() + DIGITS)
        .position(|text| text.starts_with(MARK) && text[MARK.len()..].iter().all(is_digit));
    found.map(|start| start + MARK.len())
}

/// The hash of a file with zeros for the digits that start at `start`.
fn checksum(bytes: &[u8], start: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..start]);
    hasher.update(&[b'0'; DIGITS]);
    hasher.update(&bytes[start + DIGITS..]);
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_is_intact_and_none_that_differs_from_it_in_one_bit_is() {
        let mut bytes = format!("before {BLANK} after").into_bytes();
        assert!(check(&bytes).is_err());
        seal(&mut bytes);
        assert!(check(&bytes).unwrap());
        for bit in 0..8 * bytes.len() {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!check(&other).unwrap_or(false), "bit {bit}");
        }
    }
}
