//! Releases the memory of mapped files after reading, so that files may be larger than memory.

use std::ops::Range;

use memmap2::{Mmap, UncheckedAdvice};

/// Bytes that Linux maps around an address when it is first read ("fault-around").
pub(crate) const FAULT_AROUND: usize = 64 << 10;

/// Releases the pages of `range` to the kernel, which keeps them cached while there is room. Slices of the map stay
/// valid; reading them maps the pages again.
pub(crate) fn release_pages(map: &Mmap, range: Range<usize>) {
    let start = range.start.saturating_sub(FAULT_AROUND);
    let end = (range.end + FAULT_AROUND).min(map.len());
    // SAFETY: the map is read-only and backed by a file, so released pages are read from there again. If the call
    // fails, the pages just stay in memory.
    let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
}
