//! Contact sheets: the images of classes, or of an episode as the model sees them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use ndarray::ArrayView3;

use crate::draw::canvas::{LETTER, fill, write, write_png};
use crate::episode::episode::{EpisodeDraw, ImageSet, Sample};
use crate::episode::sampler::EpisodeSampler;
use crate::pack::pack::Pack;
use crate::settings::augmentation::PhotoOptions;

/// Space between images and around rows, in pixels.
const GAP: u32 = 4;
/// Thickness of a frame in pixels.
const FRAME: u32 = 3;
/// Images are magnified by the smallest whole number that makes their longer side at least this many pixels.
const MIN_SIDE: u32 = 56;

/// Role of an image in an episode, shown by the colour of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// No frame: an image of a pack, outside an episode.
    Plain,
    /// Green: a labelled support image.
    Labeled,
    /// Orange: an unlabelled support image.
    Unlabeled,
    /// Red: an unlabelled support image of a distractor class.
    Distractor,
    /// Blue: a query image.
    Query,
}

impl Role {
    fn frame(self) -> Rgb<u8> {
        Rgb(match self {
            Role::Plain => [255, 255, 255],
            Role::Labeled => [0x2c, 0xa0, 0x2c],
            Role::Unlabeled => [0xff, 0x7f, 0x0e],
            Role::Distractor => [0xd6, 0x27, 0x28],
            Role::Query => [0x1f, 0x77, 0xb4],
        })
    }
}

/// A row of a contact sheet: a title and the images below it.
#[derive(Clone, Debug)]
pub struct SheetRow {
    /// Text above the images.
    pub title: String,
    /// The images with their roles.
    pub images: Vec<(Role, RgbImage)>,
}

/// Makes one row for each of `classes`, with the first `images` images of the class.
pub fn class_rows(pack: &Pack, classes: &[usize], images: usize) -> Vec<SheetRow> {
    let shape = pack.shape();
    let size = (shape.height, shape.width, shape.channels);
    let picture = |image: usize| {
        let pixels = ndarray::ArrayView3::from_shape(size, pack.image(image));
        to_picture(
            pixels
                .expect("a pack's images have its shape")
                .permuted_axes([2, 0, 1]),
        )
    };
    let row = |&class: &usize| {
        let range = pack.class_range(class);
        let shown = range.clone().take(images);
        SheetRow {
            title: format!(
                "{} ({} images)",
                pack.metadata().class_names[class],
                range.len()
            ),
            images: shown.map(|image| (Role::Plain, picture(image))).collect(),
        }
    };
    classes.iter().map(row).collect()
}

/// Names of the augmentations that apply to each image.
fn augmentations(draw: &EpisodeDraw) -> Vec<&'static str> {
    let photo = draw.photo.as_ref();
    let colors = |photo: &PhotoOptions| [photo.hue, photo.brightness, photo.contrast] != [0.0; 3];
    let all = [
        ("jittered", !draw.jitter.is_none()),
        ("randomly mirrored", photo.is_some_and(|photo| photo.flip)),
        ("recoloured", photo.is_some_and(colors)),
        ("cropped", photo.is_some_and(|photo| photo.crop < 1.0)),
    ];
    let active = all.into_iter().filter(|(_, active)| *active);
    active.map(|(name, _)| name).collect()
}

/// Makes one row for each class of episode `index` with its labelled support and query images, then a row of unlabelled
/// images.
pub fn episode_rows(sampler: &EpisodeSampler, index: u64) -> Vec<SheetRow> {
    let plan = sampler.plan(index);
    let episode = sampler.episode_of_plan(index, &plan);
    let way = sampler.shape().way;
    let names = &sampler.pack().metadata().class_names;
    let augmented = match augmentations(sampler.draw()) {
        none if none.is_empty() => String::new(),
        some => format!(", each image {}", some.join(", ")),
    };
    let mut rows: BTreeMap<usize, SheetRow> = plan.classes[..way]
        .iter()
        .enumerate()
        .map(|(slot, &class)| {
            let turn = f32::from(plan.quarter_turns[slot]) * 90.0 + plan.angles[slot];
            let rotated = if turn == 0.0 {
                String::new()
            } else {
                format!(", rotated by {turn} degrees")
            };
            let title = format!("class {slot}: {}{rotated}{augmented}", names[class]);
            (
                slot,
                SheetRow {
                    title,
                    images: Vec::new(),
                },
            )
        })
        .collect();
    let mut add = |set: &ImageSet, samples: &[Sample], role: fn(&Sample, usize) -> Role| {
        for (image, sample) in set.images.outer_iter().zip(samples) {
            let role = role(sample, way);
            let row = if matches!(role, Role::Labeled | Role::Query) {
                sample.slot
            } else {
                way
            };
            let title = "unlabelled".to_owned();
            let row = rows.entry(row).or_insert(SheetRow {
                title,
                images: Vec::new(),
            });
            row.images.push((role, to_picture(image)));
        }
    };
    add(
        &episode.support,
        &plan.support,
        |sample, way| match sample.labeled {
            true => Role::Labeled,
            false if sample.slot < way => Role::Unlabeled,
            false => Role::Distractor,
        },
    );
    add(&episode.query, &plan.query, |_, _| Role::Query);
    rows.into_values().collect()
}

/// Converts an image, `[C, H, W]`, to RGB. If it does not have three channels, the first one is shown as grey.
fn to_picture(image: ArrayView3<'_, u8>) -> RgbImage {
    let (channels, height, width) = image.dim();
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let value = |channel: usize| image[[channel, y as usize, x as usize]];
        Rgb(if channels == 3 {
            [0, 1, 2].map(value)
        } else {
            [value(0); 3]
        })
    })
}

/// Draws `rows` and writes them to `path` as PNG, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_contact_sheet(rows: &[SheetRow], path: &Path) -> io::Result<()> {
    write_png(&draw(rows), path)
}

/// Draws rows.
pub(crate) fn draw(rows: &[SheetRow]) -> RgbImage {
    let shown = rows
        .iter()
        .flat_map(|row| &row.images)
        .map(|(_, image)| image.dimensions());
    let (width, height) = shown.max().unwrap_or((1, 1));
    let times = MIN_SIDE.div_ceil(width.max(height)).max(1);
    let (width, height) = (width * times, height * times);
    let (step, row_height) = (
        width + 2 * FRAME + GAP,
        LETTER + height + 2 * FRAME + 3 * GAP,
    );
    let columns = rows.iter().map(|row| row.images.len()).max().unwrap_or(0) as u32;
    let titles = rows
        .iter()
        .map(|row| row.title.chars().count())
        .max()
        .unwrap_or(0) as u32;
    let size = (
        (columns * step).max(titles * LETTER) + 2 * GAP,
        rows.len() as u32 * row_height + GAP,
    );
    let mut sheet = RgbImage::from_pixel(size.0, size.1, Rgb([255; 3]));
    for (row, top) in rows.iter().zip((GAP..).step_by(row_height as usize)) {
        write(&mut sheet, &row.title, (GAP, top));
        let top = top + LETTER + GAP;
        for ((role, image), left) in row.images.iter().zip((GAP..).step_by(step as usize)) {
            let framed = (width + 2 * FRAME, height + 2 * FRAME);
            fill(&mut sheet, (left, top), framed, role.frame());
            let image = resize(image, width, height, FilterType::Nearest);
            image::imageops::replace(
                &mut sheet,
                &image,
                (left + FRAME).into(),
                (top + FRAME).into(),
            );
        }
    }
    sheet
}
