//! Errors of reading, importing and writing data.

use std::path::{Path, PathBuf};

use crate::base::files::place;

/// An error while reading, importing or writing data. Each message names the file, field and value, and what was
/// expected; a line `hint:` says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file operation failed.
    #[error("could not {action} `{path}`: {source}")]
    Io {
        /// The attempted operation as an infinitive: "open", "read", "write" …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },

    /// There is no pack of this name.
    #[error("the pack `{0}` does not exist{place}", place = place(.0))]
    NoPack(PathBuf),

    /// The file is not a pack, or it is damaged.
    #[error(
        "`{path}` is not a usable pack: {problem}\nhint: import it again with `hypertransformer data import`, \
         or copy it again and compare the sizes"
    )]
    BadPack {
        /// The file.
        path: PathBuf,
        /// The faulty field, its value and what was expected.
        problem: String,
    },

    /// The contents do not match the hash that was stored when the pack was written.
    #[error(
        "`{path}` is damaged: its contents hash to `{found}`, but its metadata field `content_hash` is `{expected}`\n\
         hint: import the pack again or copy it again"
    )]
    HashMismatch {
        /// The file.
        path: PathBuf,
        /// The hash stored in the metadata.
        expected: String,
        /// The hash of the file's current contents.
        found: String,
    },

    /// The description of the contents is not the one that was stored when the pack was written.
    #[error(
        "`{0}` is damaged: its class names, splits, notes or sizes are not those that it was written with\n\
         hint: import the pack again or copy it again"
    )]
    Changed(PathBuf),

    /// A pack is named after a known data set but differs from it in numbers of classes or images.
    #[error(
        "`{path}` is named `{name}` but holds {found}, expected {expected}\nhint: import the pack again"
    )]
    NotTheKnownDataSet {
        /// The file.
        path: PathBuf,
        /// The data set's name.
        name: String,
        /// What the pack holds.
        found: String,
        /// What that data set holds.
        expected: String,
    },

    /// The pack has no split of the requested name.
    #[error("`{path}` has no split `{scheme}`; it has {known}{hint}")]
    UnknownSplit {
        /// The file.
        path: PathBuf,
        /// The requested name.
        scheme: String,
        /// The existing names, quoted and separated by commas.
        known: String,
        /// A `hint:` line with the most similar name, or an empty string.
        hint: String,
    },

    /// The pack cannot provide episodes of the requested sizes or with the requested augmentation.
    #[error("cannot draw episodes from the {part} classes of `{path}`: {reason}")]
    Episode {
        /// The pack.
        path: PathBuf,
        /// The part of the split.
        part: crate::pack::part::Part,
        /// What was requested, what the pack has, and a `hint:` line where there is one.
        reason: String,
    },

    /// An option or argument has an invalid value.
    #[error("`{field}` is {value}, expected {expected}")]
    InvalidOption {
        /// The option's name.
        field: &'static str,
        /// Its value.
        value: String,
        /// The valid values.
        expected: String,
    },

    /// The classes, names or images given to a pack writer are inconsistent.
    #[error("cannot write the pack `{path}`: {problem}")]
    BadContent {
        /// The pack that was being written.
        path: PathBuf,
        /// What is inconsistent, and what was expected.
        problem: String,
    },

    /// A file is not an archive although one was expected, or the archive is truncated or damaged.
    #[error("`{path}` {problem}")]
    BadArchive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },

    /// A list in a CSV file cannot be used.
    #[error("the list `{path}` {problem}")]
    BadTable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        problem: String,
    },

    /// A picture could not be decoded, or it has the wrong size or type.
    #[error("the picture `{file}` {problem}")]
    BadImage {
        /// The picture; a picture in an archive is written `archive.zip: inner/name.png`.
        file: String,
        /// What is wrong with it, and what was expected.
        problem: String,
    },

    /// Files were passed over, and the user does not accept that.
    #[error("{0}\nhint: without --strict the import goes on without them")]
    PassedOver(String),

    /// A pack was overwritten in place while it was read.
    #[error(
        "{0} was overwritten while it was read\nhint: restore it and start again; a training continues with --resume"
    )]
    Overwritten(PathBuf),

    /// The user interrupted the import.
    #[error("interrupted; no pack was written")]
    Interrupted,

    /// The user's own pictures cannot be used.
    #[error("`{path}` {problem}")]
    Pictures {
        /// The folder or list.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        problem: String,
    },

    /// Parts of the data set are missing.
    #[error("{data_set} is not complete in {searched}: {problem}")]
    Incomplete {
        /// The data set's name.
        data_set: &'static str,
        /// The files and folders that were searched, quoted and separated by commas.
        searched: String,
        /// What is missing, with names and numbers, and what to do.
        problem: String,
    },
}

impl DataError {
    /// Returns a function for `map_err` that adds the operation and the file to an operating system's error.
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

/// Quotes names and joins them with commas; lists at most `limit` of them and says how many more there are.
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
