//! Files of this program, changed by a test.

use serde_json::Value;

/// Splits a safetensors file into its header and its tensors.
fn parts(bytes: &[u8]) -> (Value, &[u8]) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    (header, &bytes[8 + length..])
}

/// A safetensors file with another description: the JSON object that its metadata hold under `key`.
pub(crate) fn redescribed(bytes: &[u8], key: &str, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (mut header, tensors) = parts(bytes);
    let entry = &mut header["__metadata__"][key];
    let mut description = serde_json::from_str(entry.as_str().unwrap()).unwrap();
    change(&mut description);
    *entry = description.to_string().into();
    let mut header = header.to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), tensors].concat()
}

/// A pack as versions wrote it that hashed neither names nor splits.
pub(crate) fn without_whole_hash(bytes: &[u8]) -> Vec<u8> {
    let mut old = bytes.to_vec();
    let key = b",\"whole_hash\":";
    let found = old.windows(key.len()).position(|text| text == key);
    let start = found.unwrap();
    // The key, and 64 digits in quotes.
    old[start..start + key.len() + 66].fill(b' ');
    old
}

/// The file with its checksum made right again, as one who changes it on purpose can do.
pub(crate) fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    assert!(reseal(&mut bytes));
    bytes
}

/// Makes the checksum of a file right; `false` if it has none.
pub(crate) fn reseal(bytes: &mut [u8]) -> bool {
    let mark = b"blake3:";
    let found = bytes.windows(mark.len()).position(|text| text == mark);
    let digits = found.unwrap_or(bytes.len()) + mark.len();
    if digits + 64 > bytes.len() {
        return false;
    }
    bytes[digits..digits + 64].fill(b'0');
    let checksum = blake3::hash(bytes).to_hex();
    bytes[digits..digits + 64].copy_from_slice(checksum.as_bytes());
    true
}

/// Numbers that look random and are the same each time (splitmix64).
pub(crate) fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |index: u64| {
        let mut mixed = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}
