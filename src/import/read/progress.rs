//! Progress of a running import.

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Files looked at so far, in folders and archives.
    Searched(usize),
    /// Bytes unpacked so far, over all archives and compressed files.
    Unpacked(u64),
    /// Pictures written so far, and their total number.
    Written(usize, usize),
}

/// Receives progress and returns whether to continue.
pub type Watch<'a> = &'a dyn Fn(Progress) -> bool;
