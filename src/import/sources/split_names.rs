//! Names of folders that are parts of a split.

use crate::pack::part::Part;

/// Words for each part, beside their compounds: `meta_train`, `training_set`, `test images`.
const WORDS: [(Part, &[&str]); 3] = [
    (Part::Train, &["train", "training", "base"]),
    (Part::Validation, &["val", "valid", "validation", "dev"]),
    (
        Part::Test,
        &["test", "testing", "novel", "eval", "evaluation"],
    ),
];
const PREFIXES: [&str; 2] = ["meta", "images"];
const SUFFIXES: [&str; 8] = [
    "set", "data", "images", "image", "imgs", "classes", "split", "pictures",
];
/// Pieces of names that the parts of some other split may have.
const HINTS: [&str; 9] = [
    "train",
    "test",
    "val",
    "eval",
    "fold",
    "split",
    "novel",
    "background",
    "holdout",
];

/// The part that a folder's name says, in any case of its letters.
pub(crate) fn part_named(name: &str) -> Option<Part> {
    let letters = name.chars().filter(|letter| !"-_ .".contains(*letter));
    let name = letters.collect::<String>().to_lowercase();
    let mut plain = name.as_str();
    while let Some(rest) = shortened(plain) {
        plain = rest;
    }
    let part = WORDS.iter().find(|(_, words)| words.contains(&plain));
    part.map(|(part, _)| *part)
}

fn shortened(name: &str) -> Option<&str> {
    let mut prefixes = PREFIXES.iter();
    let mut suffixes = SUFFIXES.iter();
    prefixes
        .find_map(|prefix| name.strip_prefix(prefix))
        .or_else(|| suffixes.find_map(|suffix| name.strip_suffix(suffix)))
        .filter(|rest| !rest.is_empty())
}

/// Whether a folder of this name may be a part of a split.
pub(crate) fn like_a_part(name: &str) -> bool {
    let name = name.to_lowercase();
    part_named(&name).is_some() || HINTS.iter().any(|hint| name.contains(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_names_of_parts_are_known_in_any_spelling() {
        for (part, names) in [
            (
                Part::Train,
                &[
                    "train",
                    "TRAIN",
                    "Training",
                    "meta_train",
                    "training_set",
                    "base",
                    "train-images",
                ][..],
            ),
            (
                Part::Validation,
                &["val", "valid", "dev", "meta-val", "Validation Set"],
            ),
            (
                Part::Test,
                &[
                    "test",
                    "Testing",
                    "novel",
                    "metatest",
                    "test.data",
                    "images_evaluation",
                ],
            ),
        ] {
            for name in names {
                assert_eq!(part_named(name), Some(part), "{name}");
            }
        }
    }

    #[test]
    fn other_names_are_no_parts_but_may_look_like_some() {
        for (name, like) in [
            ("cat", false),
            ("images", false),
            ("fold1", true),
            ("split_2", true),
            ("my_train", true),
            ("trainees", true),
        ] {
            assert_eq!(part_named(name), None, "{name}");
            assert_eq!(like_a_part(name), like, "{name}");
        }
    }
}
