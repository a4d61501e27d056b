//! Memory of mapped files: given back once read, so that files may be larger than memory.
use std::ops::Range;

use memmap2::{Mmap, UncheckedAdvice};

/// Bytes around a touched one that Linux maps with it.
pub(crate) const AROUND: usize = 64 << 10;

/// Gives the memory of a range back to the kernel, which keeps the bytes as long as nobody else needs the room. Slices
/// of the map stay what they are.
pub(crate) fn give_back(map: &Mmap, range: Range<usize>) {
    let start = range.start.saturating_sub(AROUND);
    let end = (range.end + AROUND).min(map.len());
    // SAFETY: the map is of a file and nobody writes to it; what is looked at again comes from there. If the system
    // refuses, the pages stay.
    let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
}
