//! Changed inputs: each is a pure function of the corpus and a seed.

use crate::common::edited::{numbers, reseal};

/// Texts that mean something in some format, and numbers that code seldom expects.
const WORDS: [&[u8]; 44] = [
    b"-1",
    b"0",
    b"1e999",
    b"-0.0",
    b"NaN",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551615",
    b"4294967296",
    b"9007199254740993",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"[[[[[[[[",
    b"{\"a\":",
    b"]",
    b"}",
    b"\\u0000",
    b"\n",
    b"\r\n",
    b",",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"extends: x.yaml\n",
    b"~/",
    b"../",
    b"/dev/zero",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"PK\x01\x02",
    b"\x1f\x8b\x08",
    b"'|O'",
    b"'<f8'",
    b"(((((((",
    b"\x94\x8c\x01",
    b"blake3:",
    b"\"shape\":[",
];

/// The values of numbers of four and eight bytes that code seldom expects.
const EXTREMES: [u64; 10] = [
    0,
    1,
    0x7f,
    0xffff,
    1 << 31,
    (1 << 31) - 1,
    u32::MAX as u64,
    1 << 53,
    1 << 63,
    u64::MAX,
];

/// Largest input in bytes.
const LARGEST: usize = 1 << 16;

/// The input that belongs to `seed`: one of `corpus` with one to six changes. Half of the sealed ones are sealed again,
/// so that what lies behind the checksum is reached.
pub(super) fn mutated(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut numbers = numbers(seed);
    let mut below = |limit: usize| (numbers.next().unwrap() % limit.max(1) as u64) as usize;
    let mut bytes = corpus[below(corpus.len())].clone();
    for _ in 0..1 + below(6) {
        let (place, kind) = (below(bytes.len()), below(12));
        let end = (place + 1 + below(16)).min(bytes.len());
        match kind {
            0 | 1 if !bytes.is_empty() => bytes[place] ^= 1 << below(8),
            2 if !bytes.is_empty() => bytes[place] = below(256) as u8,
            3 => bytes.truncate(place),
            4 => drop(bytes.drain(place..end)),
            5 => {
                let part = bytes[place..end].repeat(1 + below(64));
                bytes.splice(place..place, part);
            }
            6 | 7 => {
                // A word, as often as not in place of something as long.
                let word = WORDS[below(WORDS.len())];
                let end = (place + below(2) * word.len()).min(bytes.len());
                bytes.splice(place..end, word.iter().copied());
            }
            8 => {
                let number = EXTREMES[below(EXTREMES.len())].to_le_bytes();
                let length = [2, 4, 8][below(3)].min(bytes.len() - place);
                let mut number = number[..length].to_vec();
                if below(2) == 0 {
                    number.reverse();
                }
                bytes[place..place + length].copy_from_slice(&number);
            }
            9 | 10 => {
                // Another number in place of one that is written in digits.
                let found = bytes[place..].iter().position(u8::is_ascii_digit);
                let start = place + found.unwrap_or(0);
                let digits = bytes[start..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit());
                let end = start + digits.count();
                let number = match below(3) {
                    0 => below(300).to_string(),
                    _ => EXTREMES[below(EXTREMES.len())].to_string(),
                };
                bytes.splice(start..end, number.into_bytes());
            }
            _ => {
                // The end of another input.
                let other = &corpus[below(corpus.len())];
                let start = below(other.len());
                bytes.truncate(place);
                bytes.extend_from_slice(&other[start..]);
            }
        }
    }
    bytes.truncate(LARGEST);
    if below(2) == 0 {
        reseal(&mut bytes);
    }
    bytes
}
