//! The three parts of a class split.

use serde::{Deserialize, Serialize};

/// One of the three parts of a class split.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Classes for training φ.
    Train,
    /// Classes for selecting checkpoints and settings.
    Validation,
    /// Classes for the final evaluation only.
    Test,
}

impl Part {
    /// All parts, in the order train, validation, test.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Name in files and on the command line: "train", "validation" or "test".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.name())
    }
}

/// A text that does not name a part.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a part of a split, expected `train`, `validation` or `test`")]
pub struct UnknownPart(String);

impl std::str::FromStr for Part {
    type Err = UnknownPart;

    fn from_str(name: &str) -> Result<Self, UnknownPart> {
        let mut parts = Self::ALL.into_iter();
        let found = parts.find(|part| part.name() == name);
        found.ok_or_else(|| UnknownPart(name.to_owned()))
    }
}
