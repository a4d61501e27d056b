//! Class splits: which classes are for training, for validation and for test.

use serde::{Deserialize, Serialize};

use crate::base::random::{Purpose, Random};
use crate::pack::error::DataError;
use crate::pack::part::Part;

/// The classes of each part, as indices into the pack's classes. A class belongs to at most one part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitScheme {
    /// Classes for training.
    pub train: Vec<usize>,
    /// Classes for selecting checkpoints.
    pub validation: Vec<usize>,
    /// Classes for the final evaluation.
    pub test: Vec<usize>,
}

impl SplitScheme {
    /// The classes of one part.
    #[must_use]
    pub fn part(&self, part: Part) -> &[usize] {
        match part {
            Part::Train => &self.train,
            Part::Validation => &self.validation,
            Part::Test => &self.test,
        }
    }

    /// The classes of one part, for modification.
    pub(crate) fn part_mut(&mut self, part: Part) -> &mut Vec<usize> {
        match part {
            Part::Train => &mut self.train,
            Part::Validation => &mut self.validation,
            Part::Test => &mut self.test,
        }
    }

    /// Describes what is wrong with the split for a pack of `class_count` classes: an index out of range, or a class
    /// that is listed twice, in one part or in two. Returns `None` if the split is valid.
    #[must_use]
    pub fn fault(&self, class_count: usize) -> Option<String> {
        let mut seen: Vec<Option<Part>> = vec![None; class_count];
        for part in Part::ALL {
            for &class in self.part(part) {
                match seen.get_mut(class) {
                    None => {
                        return Some(format!(
                            "{part} names class {class}, expected an index below {class_count}"
                        ));
                    }
                    Some(Some(earlier)) => {
                        return Some(format!(
                            "class {class} is in {earlier} and again in {part}, expected each class once"
                        ));
                    }
                    Some(free) => *free = Some(part),
                }
            }
        }
        None
    }
}

/// Number of classes in each part of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartSizes {
    /// Number of training classes.
    pub train: usize,
    /// Number of validation classes.
    pub validation: usize,
    /// Number of test classes.
    pub test: usize,
}

impl PartSizes {
    /// Splits `class_count` classes into 70 % for training, 10 % for validation and the rest, about 20 %, for test.
    #[must_use]
    pub(crate) fn seventy_ten_twenty(class_count: usize) -> Self {
        let train = class_count * 7 / 10;
        let validation = class_count / 10;
        Self {
            train,
            validation,
            test: class_count - train - validation,
        }
    }
}

/// Shuffles the classes `0..class_count` with `seed` and assigns them to train, then validation, then test. The indices
/// within a part are ascending. Splits with different `index` are independent under the same seed.
///
/// # Errors
/// [`DataError::InvalidOption`] if the parts need more than `class_count` classes.
pub(crate) fn seeded_split(
    class_count: usize,
    sizes: PartSizes,
    seed: u64,
    index: u64,
) -> Result<SplitScheme, DataError> {
    let needed = sizes
        .train
        .saturating_add(sizes.validation)
        .saturating_add(sizes.test);
    if needed > class_count {
        return Err(DataError::InvalidOption {
            field: "split sizes",
            value: format!(
                "{} + {} + {} classes",
                sizes.train, sizes.validation, sizes.test
            ),
            expected: format!("at most {class_count} in total"),
        });
    }
    let mut classes: Vec<usize> = (0..class_count).collect();
    Random::new(seed, Purpose::Split, index).shuffle(&mut classes);
    let mut remaining = classes.into_iter();
    let mut deal = |count: usize| {
        let mut part: Vec<usize> = remaining.by_ref().take(count).collect();
        part.sort_unstable();
        part
    };
    Ok(SplitScheme {
        train: deal(sizes.train),
        validation: deal(sizes.validation),
        test: deal(sizes.test),
    })
}
