//! Omniglot (Lake et al. 2015): 1,623 characters × 20 drawings, from the official archives or folders.

use std::collections::BTreeMap;

use image::DynamicImage;
use image::imageops::FilterType;

use crate::base::random::{Purpose, Random};
use crate::import::data_set::ImportRequest;
use crate::import::read::files::{FoundFile, find, has_extension};
use crate::import::read::mapped::Scratch;
use crate::import::write::pictures::{Outcome, square, write_pictures};
use crate::pack::error::{DataError, list_names};
use crate::pack::pack::PackMetadata;
use crate::pack::part::Part;
use crate::pack::splits::{SplitScheme, seeded_split};
use crate::pack::writer::PackWriter;
use crate::pictures::decoding::{PUBLISHED, decode};

/// Height and width of the original pictures in pixels.
const NATIVE_SIZE: u32 = 105;
/// Drawings of each character.
pub(crate) const DRAWINGS: usize = 20;
/// The two sets and their numbers of characters.
const SETS: [(&str, usize); 2] = [("images_background", 964), ("images_evaluation", 659)];
/// Background alphabets that the split `lake` holds out for validation.
const LAKE_VALIDATION_ALPHABETS: usize = 5;
/// `part Alphabet/character`, the lists of Vinyals et al. (2016).
const VINYALS: &str = include_str!("omniglot_vinyals.txt");

/// A character and its drawings.
struct Character {
    name: String,
    background: bool,
    drawings: Vec<FoundFile>,
}

/// Imports the whole data set; classes are named `Alphabet/characterNN`. The seed shuffles the split `paper` and
/// chooses the alphabets that `lake` holds out.
pub(crate) fn import(request: &ImportRequest<'_>) -> Result<(), DataError> {
    let ImportRequest { size, seed, .. } = *request;
    if !(1..=NATIVE_SIZE).contains(&size) {
        return Err(DataError::InvalidOption {
            field: "size",
            value: size.to_string(),
            expected: format!("1 to {NATIVE_SIZE} pixels"),
        });
    }
    let characters = characters(request)?;
    let class_names: Vec<String> = characters
        .iter()
        .map(|character| character.name.clone())
        .collect();
    let filter = if size == NATIVE_SIZE {
        "none"
    } else {
        "triangle, antialiased"
    };
    let metadata = PackMetadata {
        name: request.data_set.name.to_owned(),
        splits: splits(request, &characters)?,
        class_names,
        default_split: "paper".to_owned(),
        source: request.source(),
        licence: request.data_set.licence_note(),
        content_hash: String::new(),
        notes: BTreeMap::from([
            ("split_seed".to_owned(), seed.to_string()),
            ("resize_filter".to_owned(), filter.to_owned()),
            ("ink".to_owned(), "high (255), background 0".to_owned()),
        ]),
    };
    let drawings: Vec<&FoundFile> = characters
        .iter()
        .flat_map(|character| &character.drawings)
        .collect();
    let shape = square(size, 1)?;
    let sizes = vec![DRAWINGS; characters.len()];
    let mut writer = PackWriter::create(request.output, shape, &sizes, metadata)?;
    let read = |file: &&FoundFile| Ok(Outcome::Pixels(picture(file, size)?));
    write_pictures(&drawings, read, &mut writer, request.watch)?;
    writer.finish()
}

/// All characters, first those of `images_background`, sorted by name.
///
/// # Errors
/// If a character or drawing is missing.
fn characters(request: &ImportRequest<'_>) -> Result<Vec<Character>, DataError> {
    let scratch = Scratch::next_to(request.output, request.watch);
    let mut sets = [BTreeMap::new(), BTreeMap::new()];
    for file in find(request.from, &scratch, &|inner| {
        has_extension(inner, &["png"])
    })? {
        if let Some((set, name)) = place(&file) {
            sets[set].entry(name).or_insert_with(Vec::new).push(file);
        }
    }
    let mut characters = Vec::new();
    for ((set, expected), found) in SETS.into_iter().zip(sets) {
        if found.is_empty() {
            return Err(request.incomplete(format!(
                "no file of {set} found; expected {}",
                request.data_set.files
            )));
        }
        let background = set == SETS[0].0;
        for (name, mut drawings) in found {
            // A picture may lie both in an archive and, unpacked, next to it.
            drawings.sort_by(|left, right| left.name().cmp(right.name()));
            drawings.dedup_by(|left, right| left.name() == right.name());
            if drawings.len() != DRAWINGS {
                return Err(request.incomplete(format!(
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
        let present: Vec<&str> = characters
            .iter()
            .filter(|character| character.background == background)
            .map(|character| character.name.as_str())
            .collect();
        if present.len() != expected {
            let missing = known_names().filter(|name| {
                !characters.iter().any(|character| character.name == *name)
                    && present
                        .iter()
                        .any(|other| alphabet(other) == alphabet(name))
            });
            return Err(request.incomplete(format!(
                "{set} has {} characters, expected {expected}; missing: {}",
                present.len(),
                list_names(missing, 3)
            )));
        }
    }
    Ok(characters)
}

/// Index of the set, and `Alphabet/characterNN`, from the last folders of a file's path.
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

/// A drawing as `[size, size]` bytes, ink 255 and paper 0.
fn picture(file: &FoundFile, size: u32) -> Result<Vec<u8>, DataError> {
    let bad = |problem: String| DataError::BadImage {
        file: file.display(),
        problem,
    };
    let mut grey = decode(&file.read()?, PUBLISHED, DynamicImage::into_luma8).map_err(bad)?;
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

/// The splits `paper` (by seed), `vinyals` (Vinyals et al. 2016) and `lake` (background and evaluation).
fn splits(
    request: &ImportRequest<'_>,
    characters: &[Character],
) -> Result<BTreeMap<String, SplitScheme>, DataError> {
    let count = characters.len();
    let paper = seeded_split(count, request.data_set.part_sizes(count), request.seed, 0)?;
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
    Random::new(request.seed, Purpose::Split, 1).shuffle(&mut alphabets);
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
