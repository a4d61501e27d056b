//! numpy arrays, mapped from `.npy` files, `.npz` archives and, through [`crate::import::read::pickle`], pickles.

use std::borrow::Cow;
use std::io::Cursor;

use zip::ZipArchive;

use crate::import::read::archives::open_zip;
use crate::import::read::files::{FoundFile, map_entry};
use crate::import::read::mapped::{KeepError, Scratch, Slice, Trail};
use crate::import::read::npy_header::{self, LONGEST};
use crate::pack::error::DataError;

/// Bytes of a letter in a numpy array of text (`U`).
const LETTER: usize = 4;
/// Letters of a header that cannot be used in a message.
const SHOWN_HEADER: usize = 200;

/// Element type of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dtype {
    /// numpy's letter: `u`, `i`, `f`, `b` (Boolean), `O` (objects), `S` and `U` (text of bytes and of letters), …
    pub kind: u8,
    /// Bytes of an element.
    pub size: usize,
    /// Whether the most significant byte comes first.
    pub big_endian: bool,
}

impl Dtype {
    pub(crate) const BYTE: Dtype = Dtype {
        kind: b'u',
        size: 1,
        big_endian: false,
    };

    /// Parses numpy's short name: `|u1`, `<f4`, `O`.
    pub(crate) fn parse(name: &str) -> Option<Dtype> {
        let plain = name.trim_start_matches(['<', '>', '|', '=']);
        let (&kind, size) = plain.as_bytes().split_first()?;
        let size = match (kind, size) {
            (b'O', _) => 8,
            (b'U', letters) => {
                LETTER.checked_mul(std::str::from_utf8(letters).ok()?.parse().ok()?)?
            }
            (_, size) => std::str::from_utf8(size).ok()?.parse().ok()?,
        };
        Some(Dtype {
            kind,
            size,
            big_endian: name.starts_with('>'),
        })
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.kind {
            b'u' => "uint",
            b'i' => "int",
            b'f' => "float",
            b'b' => return write!(formatter, "bool"),
            b'O' => return write!(formatter, "objects"),
            b'S' | b'U' => return write!(formatter, "text"),
            _ => return write!(formatter, "{}{}", char::from(self.kind), self.size),
        };
        write!(formatter, "{name}{}", self.size * 8)
    }
}

/// Bytes in a mapped file. Protocol 2 of Python 3 stores bytes as text with one letter per byte.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    Plain(Slice),
    /// UTF-8 text with letters below U+0100 only, and its number of letters; each letter is one byte.
    Letters(Slice, usize),
}

impl Stored {
    /// Bytes stored as text; `None` if a letter is U+0100 or above.
    pub(crate) fn letters(text: &Slice) -> Option<Stored> {
        const STEP: usize = 1 << 20;
        let (mut count, mut begun, mut trail) = (0, false, Trail::new(text));
        for (step, bytes) in text.as_ref().chunks(STEP).enumerate() {
            for byte in bytes {
                match (begun, byte) {
                    (false, 0xc2 | 0xc3) => begun = true,
                    (false, 0..0x80) | (true, 0x80..0xc0) => {
                        begun = false;
                        count += 1;
                    }
                    _ => return None,
                }
            }
            trail.reach(step * STEP + bytes.len());
        }
        (!begun).then(|| Stored::Letters(text.clone(), count))
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Stored::Plain(slice) => slice.as_ref().len(),
            Stored::Letters(_, count) => *count,
        }
    }

    /// The bytes, decoded into memory if they are stored as text; for labels and single pictures.
    pub(crate) fn read(&self) -> Cow<'_, [u8]> {
        match self {
            Stored::Plain(slice) => Cow::Borrowed(slice.as_ref()),
            Stored::Letters(slice, _) => Cow::Owned(letters(slice.as_ref()).collect()),
        }
    }

    /// Releases their pages.
    pub(crate) fn release(&self) {
        let (Stored::Plain(slice) | Stored::Letters(slice, _)) = self;
        slice.release(0, slice.as_ref().len());
    }

    /// The bytes, mapped; for large arrays.
    ///
    /// # Errors
    /// If there is no room for them, or `scratch` asks to stop.
    pub(crate) fn mapped(&self, scratch: &Scratch) -> Result<Slice, DataError> {
        match self {
            Stored::Plain(slice) => Ok(slice.clone()),
            Stored::Letters(slice, _) => {
                let mut letters = Letters {
                    text: slice.as_ref(),
                    place: 0,
                    trail: Trail::new(slice),
                };
                let kept = scratch.keep(&mut letters, slice.as_ref().len() as u64);
                kept.map_err(KeepError::without_source)
            }
        }
    }
}

/// Decodes one byte from each letter.
fn letters(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut bytes = text.iter();
    std::iter::from_fn(move || {
        let &first = bytes.next()?;
        if first < 0x80 {
            return Some(first);
        }
        Some(first << 6 | bytes.next()? & 0x3f)
    })
}

/// Reads bytes stored as text.
struct Letters<'a> {
    text: &'a [u8],
    place: usize,
    trail: Trail<'a>,
}

impl std::io::Read for Letters<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut end = self.text.len().min(self.place + buffer.len());
        // Do not stop between the two bytes of a letter.
        if self.text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end -= 1;
        }
        let mut written = 0;
        for (place, byte) in buffer.iter_mut().zip(letters(&self.text[self.place..end])) {
            *place = byte;
            written += 1;
        }
        self.place = end;
        self.trail.reach(end);
        Ok(written)
    }
}

/// An array in C order (row by row).
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub stored: Stored,
}

impl std::fmt::Display for Array {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {:?}", self.dtype, self.shape)
    }
}

impl Array {
    /// An array of `shape`, whose product times the size of an element must be the number of bytes.
    ///
    /// # Errors
    /// If it is not, or if the array is in Fortran order or holds Python objects.
    pub(crate) fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        fortran: bool,
        stored: Stored,
    ) -> Result<Array, String> {
        if dtype.kind == b'O' {
            return Err(format!(
                "has an array {shape:?} of Python objects, expected numbers: save embeddings as np.stack(list), and \
                 labels as np.array(list, dtype=int)"
            ));
        }
        if fortran && shape.len() > 1 {
            return Err(format!(
                "has an array {shape:?} stored column by column; write it again after np.ascontiguousarray"
            ));
        }
        let expected = shape
            .iter()
            .try_fold(dtype.size, |product, &side| product.checked_mul(side));
        if expected != Some(stored.len()) {
            return Err(format!(
                "has an array of {dtype} {shape:?} with {} bytes: it is damaged, fetch it again",
                stored.len()
            ));
        }
        Ok(Array {
            dtype,
            shape,
            stored,
        })
    }

    /// The elements of an integer or Boolean array; `None` for other types and values beyond i64.
    pub(crate) fn integers(&self) -> Option<Vec<i64>> {
        if !matches!(self.dtype.kind, b'u' | b'i' | b'b') || !(1..=8).contains(&self.dtype.size) {
            return None;
        }
        let bytes = self.stored.read();
        let number = |element: &[u8]| {
            let mut wide = [0; 8];
            for (place, byte) in element.iter().enumerate() {
                let place = if self.dtype.big_endian {
                    element.len() - 1 - place
                } else {
                    place
                };
                wide[place] = *byte;
            }
            let shift = 64 - 8 * element.len();
            match self.dtype.kind {
                b'i' => Some(i64::from_le_bytes(wide) << shift >> shift),
                _ => i64::try_from(u64::from_le_bytes(wide)).ok(),
            }
        };
        bytes.chunks_exact(self.dtype.size).map(number).collect()
    }

    /// The elements of a text array (`S` or `U`), without the zeros that pad them; `None` for other types.
    pub(crate) fn texts(&self) -> Option<Vec<String>> {
        let (size, big_endian) = (self.dtype.size, self.dtype.big_endian);
        let letter = |bytes: &[u8; LETTER]| {
            let number = match big_endian {
                true => u32::from_be_bytes(*bytes),
                false => u32::from_le_bytes(*bytes),
            };
            char::from_u32(number)
        };
        let text = |element: &[u8]| -> Option<String> {
            let text = match self.dtype.kind {
                b'S' => String::from_utf8_lossy(element).into_owned(),
                b'U' => element
                    .as_chunks()
                    .0
                    .iter()
                    .map(letter)
                    .collect::<Option<_>>()?,
                _ => return None,
            };
            Some(text.trim_end_matches('\0').to_owned())
        };
        let bytes = self.stored.read();
        let elements = (size > 0).then(|| bytes.chunks_exact(size))?;
        elements.map(text).collect()
    }

    /// Converts `bytes` of a floating-point array, all or a row, to single precision; `None` for other types.
    pub(crate) fn floats(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        macro_rules! read {
            ($kind:ty) => {
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&element| match self.dtype.big_endian {
                        true => <$kind>::from_be_bytes(element) as f32,
                        false => <$kind>::from_le_bytes(element) as f32,
                    })
                    .collect()
            };
        }
        match (self.dtype.kind, self.dtype.size) {
            (b'f', 4) => Some(read!(f32)),
            (b'f', 8) => Some(read!(f64)),
            _ => None,
        }
    }
}

/// Reads the header of a `.npy` file.
///
/// # Errors
/// If it is not an npy file, is truncated, or its array cannot be used; the text follows the file's name in the
/// message.
pub(crate) fn read_npy(slice: &Slice) -> Result<Array, String> {
    let bytes = slice.as_ref();
    let none = || "is no npy file, or is cut short".to_owned();
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err(none());
    }
    let (start, length) = match bytes.get(6..12).ok_or_else(none)? {
        [1, _, low, high, ..] => (10, usize::from(u16::from_le_bytes([*low, *high]))),
        [_, _, length @ ..] => (
            12,
            u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize,
        ),
        _ => return Err(none()),
    };
    if length > LONGEST {
        return Err(format!(
            "has an npy header of {length} bytes, expected at most {LONGEST}"
        ));
    }
    let header = bytes.get(start..start + length).ok_or_else(none)?;
    let header = String::from_utf8_lossy(header);
    let unusable = || {
        let shown: String = header.trim().chars().take(SHOWN_HEADER).collect();
        format!("has an npy header that cannot be used, expected a plain array: {shown}")
    };
    let parsed = npy_header::parse(&header).ok_or_else(unusable)?;
    let dtype = Dtype::parse(&parsed.dtype).ok_or_else(unusable)?;
    let content = start + length;
    let content = slice
        .part(content, bytes.len() - content)
        .ok_or_else(none)?;
    Array::new(dtype, parsed.shape, parsed.fortran, Stored::Plain(content))
}

/// A `.npz` archive.
pub(crate) struct Npz<'a> {
    file: &'a FoundFile,
    archive: ZipArchive<Cursor<Slice>>,
}

impl<'a> Npz<'a> {
    /// Opens the archive.
    ///
    /// # Errors
    /// If the file is not an archive or is damaged.
    pub(crate) fn open(file: &'a FoundFile, scratch: &Scratch) -> Result<Npz<'a>, DataError> {
        let archive = open_zip(file.map(scratch)?)
            .map_err(|problem| file.bad(format!("is no npz archive, or {problem}")))?;
        Ok(Npz { file, archive })
    }

    /// Reads the array `name`.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub(crate) fn array(&self, name: &str, scratch: &Scratch) -> Result<Array, DataError> {
        let Some(index) = self.archive.index_for_name(&format!("{name}.npy")) else {
            let names: Vec<_> = self.archive.file_names().flatten().collect();
            return Err(self.file.bad(format!(
                "has no array `{name}`; it has {}",
                crate::pack::error::list_names(names, 5)
            )));
        };
        let slice = map_entry(&self.archive, index, scratch).map_err(|error| {
            error.or_source(|problem| {
                self.file.bad(format!(
                    "is damaged at `{name}` ({problem}): fetch it again"
                ))
            })
        })?;
        read_npy(&slice).map_err(|problem| self.file.bad(format!("`{name}` {problem}")))
    }
}
