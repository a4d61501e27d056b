//! The instructions of Python's pickles, protocols 2 to 5
//! (<https://github.com/python/cpython/blob/main/Lib/pickletools.py>).

use std::collections::HashSet;
use std::ops::Range;

use crate::import::read::mapped::{Slice, Trail};

/// One instruction with its argument. Ranges are positions in the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Instruction {
    Nothing,
    Mark,
    Stop,
    Pop,
    PopMark,
    Duplicate,
    /// None or a floating-point number.
    Other,
    Bool(bool),
    Integer(i64),
    Text(Range<usize>),
    Bytes(Range<usize>),
    EmptyList,
    EmptyDict,
    /// A tuple of this many topmost values, or of all above the mark.
    Tuple(Option<usize>),
    /// Appends one value, or all above the mark (`true`).
    Append(bool),
    /// Sets one entry, or all above the mark (`true`).
    SetItem(bool),
    /// Module and name.
    Global(Range<usize>, Range<usize>),
    StackGlobal,
    Reduce,
    Build,
    /// Memoizes the topmost value under a number.
    Put(u32),
    /// Memoizes the topmost value under the next free number.
    Memoize,
    /// Pushes a memoized value.
    Get(u32),
}

/// Reads instructions in turn.
pub(crate) struct Instructions<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl<'a> Instructions<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, place: 0 }
    }

    /// Position of the next instruction.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    fn take(&mut self, length: usize) -> Result<Range<usize>, String> {
        let end = self.place.checked_add(length);
        let end = end.filter(|&end| end <= self.bytes.len()).ok_or_else(|| {
            format!(
                "is cut short: {} bytes, expected more; fetch it again",
                self.bytes.len()
            )
        })?;
        let range = self.place..end;
        self.place = end;
        Ok(range)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(&self.bytes[self.take(N)?]);
        Ok(fixed)
    }

    /// A range that is preceded by its length in `N` bytes.
    fn counted<const N: usize>(&mut self) -> Result<Range<usize>, String> {
        let mut length = [0; 8];
        length[..N].copy_from_slice(&self.fixed::<N>()?);
        self.take(usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<Range<usize>, String> {
        let rest = &self.bytes[self.place..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(length.unwrap_or(usize::MAX))?;
        self.place += 1;
        Ok(line)
    }

    /// Reads the next instruction.
    ///
    /// # Errors
    /// If the file ends, or no pickle of data has this instruction.
    pub(crate) fn next(&mut self) -> Result<Instruction, String> {
        let start = self.place;
        let [code] = self.fixed()?;
        Ok(match code {
            0x80 => {
                let [protocol] = self.fixed()?;
                if !(2..=5).contains(&protocol) {
                    return Err(format!("has pickle protocol {protocol}, expected 2 to 5"));
                }
                Instruction::Nothing
            }
            _ if start == 0 => {
                return Err(
                    "is no pickle of protocol 2 to 5: fetch it again, or write it again with \
                     pickle.dump(..., protocol=4)"
                        .to_owned(),
                );
            }
            0x95 => {
                self.fixed::<8>()?;
                Instruction::Nothing
            }
            b'(' => Instruction::Mark,
            b'.' => Instruction::Stop,
            b'0' => Instruction::Pop,
            b'1' => Instruction::PopMark,
            b'2' => Instruction::Duplicate,
            b'N' => Instruction::Other,
            0x88 => Instruction::Bool(true),
            0x89 => Instruction::Bool(false),
            b'J' => Instruction::Integer(i32::from_le_bytes(self.fixed()?).into()),
            b'K' => Instruction::Integer(u8::from_le_bytes(self.fixed()?).into()),
            b'M' => Instruction::Integer(u16::from_le_bytes(self.fixed()?).into()),
            0x8a => {
                let digits = self.counted::<1>()?;
                let digits = &self.bytes[digits];
                if digits.len() > 8 {
                    return Err("has a number of more than 64 bits".to_owned());
                }
                let negative = digits.last().is_some_and(|&byte| byte & 0x80 != 0);
                let mut wide = [if negative { 0xff } else { 0 }; 8];
                wide[..digits.len()].copy_from_slice(digits);
                Instruction::Integer(i64::from_le_bytes(wide))
            }
            b'G' => {
                self.fixed::<8>()?;
                Instruction::Other
            }
            0x8c => Instruction::Text(self.counted::<1>()?),
            b'X' => Instruction::Text(self.counted::<4>()?),
            0x8d => Instruction::Text(self.counted::<8>()?),
            b'U' | b'C' => Instruction::Bytes(self.counted::<1>()?),
            b'T' | b'B' => Instruction::Bytes(self.counted::<4>()?),
            0x8e | 0x96 => Instruction::Bytes(self.counted::<8>()?),
            b']' => Instruction::EmptyList,
            b'}' => Instruction::EmptyDict,
            b')' => Instruction::Tuple(Some(0)),
            0x85..=0x87 => Instruction::Tuple(Some(usize::from(code - 0x84))),
            b't' => Instruction::Tuple(None),
            b'a' => Instruction::Append(false),
            b'e' => Instruction::Append(true),
            b's' => Instruction::SetItem(false),
            b'u' => Instruction::SetItem(true),
            b'c' => Instruction::Global(self.line()?, self.line()?),
            0x93 => Instruction::StackGlobal,
            b'R' => Instruction::Reduce,
            b'b' => Instruction::Build,
            b'q' => Instruction::Put(u8::from_le_bytes(self.fixed()?).into()),
            b'r' => Instruction::Put(u32::from_le_bytes(self.fixed()?)),
            0x94 => Instruction::Memoize,
            b'h' => Instruction::Get(u8::from_le_bytes(self.fixed()?).into()),
            b'j' => Instruction::Get(u32::from_le_bytes(self.fixed()?)),
            _ => {
                return Err(format!(
                    "has the pickle instruction {code:#04x} at byte {start}, which no data set needs: it is damaged, \
                     or not what it should be"
                ));
            }
        })
    }
}

/// Numbers of the memoized values that are used again. Other values need not be memoized, which saves most of the
/// memory when there are hundreds of thousands of pictures.
///
/// # Errors
/// If the file is truncated or has an unknown instruction.
pub(crate) fn recalled(slice: &Slice) -> Result<HashSet<u32>, String> {
    let mut instructions = Instructions::new(slice.as_ref());
    let (mut recalled, mut trail) = (HashSet::new(), Trail::new(slice));
    loop {
        trail.reach(instructions.place());
        match instructions.next()? {
            Instruction::Stop => return Ok(recalled),
            Instruction::Get(number) => {
                recalled.insert(number);
            }
            _ => {}
        }
    }
}
