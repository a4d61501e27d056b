//! What an import tells of itself while it runs.

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes unpacked so far, of all archives and compressed files.
    Unpacked(u64),
    /// Pictures done, and how many there are.
    Written(usize, usize),
}

/// Told of progress; says whether to go on.
pub type Watch<'a> = &'a dyn Fn(Progress) -> bool;
