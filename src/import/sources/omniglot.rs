//! Omniglot (Lake et al. 2015): 1,623 characters × 20 drawings, from the official archives or folders.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;

use crate::base::random::{Purpose, Random};
use crate::import::read::files::{FoundFile, find, has_extension};
use crate::import::read::mapped::Scratch;
use crate::import::read::progress::Watch;
use crate::import::write::pictures::{searched, square, write_pictures};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::PackMetadata;
use crate::pack::part::Part;
use crate::pack::splits::{PartSizes, SplitScheme, seeded_split};
use crate::pack::writer::PackWriter;

/// What its packs are called.
pub(crate) const NAME: &str = "omniglot";
/// Pixels of an original picture's side.
const NATIVE_SIZE: u32 = 105;
const DRAWINGS: usize = 20;
/// The two sets and their characters.
const SETS: [(&str, usize); 2] = [("images_background", 964), ("images_evaluation", 659)];
/// Background alphabets that `lake` holds out for validation.
const LAKE_VALIDATION_ALPHABETS: usize = 5;
/// `part Alphabet/character`, the lists of Vinyals et al. (2016).
const VINYALS: &str = include_str!("omniglot_vinyals.txt");

/// What to make of the pictures.
#[derive(Clone, Copy, Debug)]
pub struct OmniglotOptions {
    /// Height and width, 1 to 105.
    pub size: u32,
    /// Seed of the `paper` split and of the alphabets that `lake` holds out.
    pub split_seed: u64,
}

/// Drawings of one character.
struct Character {
    name: String,
    background: bool,
    drawings: Vec<FoundFile>,
}

/// Imports the whole data set as a pack; class names are `Alphabet/characterNN`.
///
/// # Errors
/// If the size is not possible, a file cannot be used, or anything is missing; then no pack is left behind.
pub fn import_omniglot(
    from: &[PathBuf],
    output: &Path,
    options: OmniglotOptions,
    watch: Watch<'_>,
) -> Result<(), DataError> {
    if !(1..=NATIVE_SIZE).contains(&options.size) {
        return Err(DataError::InvalidOption {
            field: "size",
            value: options.size.to_string(),
            expected: format!("1 to {NATIVE_SIZE} pixels"),
        });
    }
    let characters = characters(from, &Scratch::beside(output, watch))?;
    let class_names: Vec<String> = characters
        .iter()
        .map(|character| character.name.clone())
        .collect();
    let filter = if options.size == NATIVE_SIZE {
        "none"
    } else {
        "triangle, antialiased"
    };
    let metadata = PackMetadata {
        name: NAME.to_owned(),
        splits: splits(&characters, options.split_seed)?,
        class_names,
        default_split: "paper".to_owned(),
        source: "Omniglot, Lake, Salakhutdinov, Tenenbaum (Science, 2015)".to_owned(),
        licence: "MIT, Copyright 2015 Brenden Lake".to_owned(),
        content_hash: String::new(),
        notes: BTreeMap::from([
            ("split_seed".to_owned(), options.split_seed.to_string()),
            ("resize_filter".to_owned(), filter.to_owned()),
            ("ink".to_owned(), "high (255), background 0".to_owned()),
        ]),
    };
    let drawings: Vec<&FoundFile> = characters
        .iter()
        .flat_map(|character| &character.drawings)
        .collect();
    let shape = square(options.size, 1)?;
    let sizes = vec![DRAWINGS; characters.len()];
    let mut writer = PackWriter::create(output, shape, &sizes, metadata)?;
    let decode = |file: &&FoundFile| picture(file, options.size);
    write_pictures(&drawings, decode, &mut writer, watch)?;
    writer.finish()
}

/// Characters and drawings in all.
pub(crate) fn counts() -> (usize, usize) {
    let characters = SETS.iter().map(|(_, count)| count).sum();
    (characters, characters * DRAWINGS)
}

/// All characters, background first, by name; checked to be whole.
fn characters(from: &[PathBuf], scratch: &Scratch) -> Result<Vec<Character>, DataError> {
    let mut sets = [BTreeMap::new(), BTreeMap::new()];
    for file in find(from, scratch, &|inner| has_extension(inner, &["png"]))? {
        if let Some((set, name)) = place(&file) {
            sets[set].entry(name).or_insert_with(Vec::new).push(file);
        }
    }
    let searched = searched(from);
    let incomplete = |problem: String| DataError::Incomplete {
        data_set: "omniglot",
        searched: searched.clone(),
        problem,
    };
    let mut characters = Vec::new();
    for ((set, expected), found) in SETS.into_iter().zip(sets) {
        if found.is_empty() {
            return Err(incomplete(format!(
                "{set}: nothing found, expected {set}.zip or a folder of that name; both parts come from \
                 https://github.com/brendenlake/omniglot (folder python)"
            )));
        }
        let background = set == SETS[0].0;
        for (name, mut drawings) in found {
            // The same picture may lie in an archive and unpacked beside it.
            drawings.sort_by(|left, right| left.name().cmp(right.name()));
            drawings.dedup_by(|left, right| left.name() == right.name());
            if drawings.len() != DRAWINGS {
                return Err(incomplete(format!(
                    "{set}/{name} has {} drawings, expected {DRAWINGS}",
                    drawings.len()
                )));
            }
            characters.push(Character {
                name,
                background,
                drawings,
            });
        }
        let there: Vec<&str> = characters
            .iter()
            .filter(|character| character.background == background)
            .map(|character| character.name.as_str())
            .collect();
        if there.len() != expected {
            let missing = known_names().filter(|name| {
                !characters.iter().any(|character| character.name == *name)
                    && there.iter().any(|other| alphabet(other) == alphabet(name))
            });
            return Err(incomplete(format!(
                "{set} has {} characters, expected {expected}; missing: {}",
                there.len(),
                list_names(missing, 3)
            )));
        }
    }
    Ok(characters)
}

/// Index of the set and `Alphabet/characterNN` of a file, from the last folders of its path.
fn place(file: &FoundFile) -> Option<(usize, String)> {
    let full = format!("{}/{}", file.container.display(), file.inner);
    let mut parts = full.rsplit('/').skip(1);
    let (character, alphabet) = (parts.next()?, parts.next()?);
    if !character.starts_with("character") {
        return None;
    }
    let set = SETS.iter().position(|(set, _)| {
        full.split('/')
            .any(|part| part.split('.').next() == Some(*set))
    })?;
    Some((set, format!("{alphabet}/{character}")))
}

fn alphabet(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

fn known_names() -> impl Iterator<Item = &'static str> {
    VINYALS
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1))
}

/// Grey, ink high, `size` × `size`.
fn picture(file: &FoundFile, size: u32) -> Result<Vec<u8>, DataError> {
    let bad = |problem: String| DataError::BadImage {
        file: file.display(),
        problem,
    };
    let decoded = image::load_from_memory_with_format(&file.read()?, image::ImageFormat::Png)
        .map_err(|error| bad(format!("is no readable PNG ({error})")))?;
    let mut grey = decoded.into_luma8();
    if grey.dimensions() != (NATIVE_SIZE, NATIVE_SIZE) {
        let (width, height) = grey.dimensions();
        return Err(bad(format!(
            "is {width}×{height}, expected {NATIVE_SIZE}×{NATIVE_SIZE}"
        )));
    }
    grey.pixels_mut()
        .for_each(|pixel| pixel.0[0] = 255 - pixel.0[0]);
    if size != NATIVE_SIZE {
        grey = image::imageops::resize(&grey, size, size, FilterType::Triangle);
    }
    Ok(grey.into_raw())
}

fn splits(characters: &[Character], seed: u64) -> Result<BTreeMap<String, SplitScheme>, DataError> {
    let sizes = PartSizes {
        train: 1150,
        validation: 50,
        test: 423,
    };
    let paper = seeded_split(characters.len(), sizes, seed, 0)?;
    let named: BTreeMap<&str, Part> = VINYALS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(part, name)| Some((name, part.parse().ok()?)))
        .collect();
    let mut alphabets: Vec<&str> = characters
        .iter()
        .filter(|character| character.background)
        .map(|character| alphabet(&character.name))
        .collect();
    alphabets.dedup();
    Random::new(seed, Purpose::Split, 1).shuffle(&mut alphabets);
    let held_out = &alphabets[..LAKE_VALIDATION_ALPHABETS.min(alphabets.len())];
    let (mut vinyals, mut lake) = (SplitScheme::default(), SplitScheme::default());
    for (class, character) in characters.iter().enumerate() {
        if let Some(&part) = named.get(character.name.as_str()) {
            vinyals.part_mut(part).push(class);
        }
        let part = match (
            character.background,
            held_out.contains(&alphabet(&character.name)),
        ) {
            (false, _) => Part::Test,
            (true, true) => Part::Validation,
            (true, false) => Part::Train,
        };
        lake.part_mut(part).push(class);
    }
    Ok([("paper", paper), ("vinyals", vinyals), ("lake", lake)]
        .map(|(name, scheme)| (name.to_owned(), scheme))
        .into())
}
