//! What an import passed over, counted by reason, and what it assumed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::pack::error::DataError;
use crate::pictures::kinds::Kind;

/// A link in a folder that leads to no file.
pub(crate) const BROKEN_LINK: &str = "link that leads nowhere";
/// A folder that a link, or another path that the user named, led to before.
pub(crate) const READ_BEFORE: &str = "folder that was read under another name";
/// A pipe, socket or device in a folder.
pub(crate) const SPECIAL: &str = "pipe, socket or device";
/// An entry of a tar archive that has no content of its own.
pub(crate) const LINK_IN_ARCHIVE: &str = "link in an archive";
/// An archive in an archive beyond the depth that is read.
pub(crate) const TOO_DEEP: &str = "archive inside several others";

/// Counts what was passed over, and keeps what was assumed.
pub(crate) struct Passed {
    /// Whether anything that was passed over is an error.
    strict: bool,
    /// Whether files that are neither pictures nor archives count.
    others: bool,
    counts: RefCell<BTreeMap<String, Count>>,
    /// What was assumed about the files.
    assumed: RefCell<Vec<String>>,
}

struct Count {
    number: usize,
    /// The first one found.
    example: String,
    /// What it is and what to do, to follow its name.
    problem: Option<String>,
}

impl Passed {
    /// Counts nothing yet. With `strict`, [`Passed::check`] refuses what was passed over. Published data sets come with
    /// files that no import needs, so that `others` are counted only where a user made the folder.
    pub(crate) fn new(strict: bool, others: bool) -> Passed {
        Passed {
            strict,
            others,
            counts: RefCell::default(),
            assumed: RefCell::default(),
        }
    }

    /// Counts a file of a kind that is not read.
    pub(crate) fn add_kind(&self, kind: Kind, file: &str) {
        let unneeded = matches!(
            kind,
            Kind::Other | Kind::Picture | Kind::Archive | Kind::Html
        );
        if self.others || !unneeded {
            self.count(kind.to_string(), file, kind.problem());
        }
    }

    /// Counts a file or folder for one of the reasons above.
    pub(crate) fn add(&self, reason: &str, file: &str) {
        self.count(reason.to_owned(), file, None);
    }

    fn count(&self, reason: String, file: &str, problem: Option<String>) {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry(reason).or_insert_with(|| Count {
            number: 0,
            example: file.to_owned(),
            problem,
        });
        count.number += 1;
    }

    /// Records an assumption about the files, for the user to read.
    pub(crate) fn assume(&self, assumption: String) {
        self.assumed.borrow_mut().push(assumption);
    }

    /// What was assumed and passed over, a text each.
    pub(crate) fn into_told(self) -> Vec<String> {
        let counts = self.told();
        self.assumed
            .into_inner()
            .into_iter()
            .chain(counts)
            .collect()
    }

    /// One line of counts, and a hint for each kind that the user can do something about; `None` if nothing was passed
    /// over.
    fn told(&self) -> Option<String> {
        let counts = self.counts.borrow();
        let listed = counts
            .iter()
            .map(|(reason, count)| format!("{} × {reason} (`{}`)", count.number, count.example));
        let listed: Vec<String> = listed.collect();
        let hints = counts.values().filter_map(|count| {
            Some(format!(
                "\nhint: `{}` {}",
                count.example,
                count.problem.as_ref()?
            ))
        });
        (!listed.is_empty()).then(|| {
            format!(
                "passed over: {}{}",
                listed.join(", "),
                hints.collect::<String>()
            )
        })
    }

    /// Refuses what was passed over, if the user wishes so.
    ///
    /// # Errors
    /// If anything was passed over and `strict` is set.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        match self.told() {
            Some(told) if self.strict => Err(DataError::PassedOver(told)),
            _ => Ok(()),
        }
    }
}
