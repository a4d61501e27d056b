//! Everything that can go wrong between image files and a pack.
use std::path::{Path, PathBuf};

/// An error of the data side: names the file, the field and the value, what was expected and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to read or write a file.
    #[error("could not {action} `{path}`: {source}")]
    Io {
        /// What was tried, as an infinitive: "open", "read", "write" …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },

    /// The file is not a pack, or is a damaged one.
    #[error(
        "`{path}` is not a usable pack: {problem}; make it again with `hypertransformer data import`, \
         or copy it again and compare the sizes"
    )]
    BadPack {
        /// The file.
        path: PathBuf,
        /// The field at fault, its value and what was expected.
        problem: String,
    },

    /// The image bytes are not those that were hashed when the pack was written.
    #[error(
        "`{path}` is damaged: its content hash is `{found}`, the field `content_hash` says `{expected}`; \
         make the pack again or copy it again"
    )]
    HashMismatch {
        /// The file.
        path: PathBuf,
        /// The hash in the metadata.
        expected: String,
        /// The hash of what the file holds now.
        found: String,
    },

    /// A pack bears the name of a known data set and does not hold what that data set holds.
    #[error(
        "`{path}` calls itself `{name}` but holds {found}, expected {expected}; make the pack again"
    )]
    NotTheKnownDataSet {
        /// The file.
        path: PathBuf,
        /// The data set's name.
        name: String,
        /// What the pack holds.
        found: String,
        /// What the data set of this name holds.
        expected: String,
    },

    /// A pack was asked for a split it does not have.
    #[error("`{path}` has no split `{scheme}`{hint}; it has {known}")]
    UnknownSplit {
        /// The file.
        path: PathBuf,
        /// The name that was asked for.
        scheme: String,
        /// The names there are, quoted and separated by commas.
        known: String,
        /// Empty, or the nearest name as a question.
        hint: String,
    },

    /// Episodes of the asked shape cannot be drawn.
    #[error("`{path}`, {part} classes: {reason}; ask for fewer in `episode:`")]
    Episode {
        /// The pack.
        path: PathBuf,
        /// The part of the split.
        part: crate::pack::part::Part,
        /// What was asked for and what is there.
        reason: String,
    },

    /// An option or argument has a value that cannot be used.
    #[error("`{field}` is {value}, expected {expected}")]
    InvalidOption {
        /// The option's name.
        field: &'static str,
        /// Its value.
        value: String,
        /// Which values would be right.
        expected: String,
    },

    /// The classes handed to a pack writer, or the images they yield, do not fit together.
    #[error("cannot write the pack `{path}`: {problem}")]
    BadContent {
        /// The pack that was to be written.
        path: PathBuf,
        /// What does not fit, and what was expected.
        problem: String,
    },

    /// A file that should be an archive is none, or is cut short or damaged.
    #[error("`{path}` {problem}")]
    BadArchive {
        /// The archive.
        path: PathBuf,
        /// What it is instead, and what to do.
        problem: String,
    },

    /// A list that comes as a CSV file cannot be used.
    #[error("the list `{path}` {problem}")]
    BadTable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        problem: String,
    },

    /// A picture could not be decoded, or is not of the size or kind the data set has.
    #[error("the picture `{file}` {problem}")]
    BadImage {
        /// The picture; inside an archive: `archive.zip: inner/name.png`.
        file: String,
        /// What is wrong with it, and what was expected.
        problem: String,
    },

    /// Someone asked to stop before all pictures were there.
    #[error("interrupted; no pack was written")]
    Interrupted,

    /// A user's own pictures cannot be used.
    #[error("`{path}` {problem}")]
    Pictures {
        /// The folder or list.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        problem: String,
    },

    /// The given files do not hold the whole data set.
    #[error("{data_set} is not complete in {searched}: {problem}")]
    Incomplete {
        /// The data set's name.
        data_set: &'static str,
        /// The files and folders that were searched, quoted and separated by commas.
        searched: String,
        /// What is missing, by name and number, and what to do.
        problem: String,
    },
}

impl DataError {
    /// Returns a function for `map_err` that adds what was tried, and on which file, to an operating system's error.
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Quotes names and joins them by commas, for a message; after `limit` of them says how many more there are.
pub(crate) fn list_names<I>(names: I, limit: usize) -> String
where
    I: IntoIterator,
    I::Item: std::fmt::Display,
{
    let mut names = names.into_iter();
    let shown: Vec<String> = names
        .by_ref()
        .take(limit)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = names.count();
    match (shown.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
