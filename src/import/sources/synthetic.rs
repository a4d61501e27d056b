//! The built-in data set: classes of glyphs made of random strokes, drawn from a seed.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use crate::base::random::{Purpose, Random};
use crate::import::data_set::ImportRequest;
use crate::import::read::mapped::Scratch;
use crate::import::write::pictures::square;
use crate::pack::error::DataError;
use crate::pack::pack::PackMetadata;
use crate::pack::splits::{PartSizes, seeded_split};
use crate::pack::writer::PackWriter;

/// Terms of use of the drawn pictures.
pub(crate) const LICENCE: &str = "CC0-1.0";

/// Images in each class.
const IMAGES_PER_CLASS: usize = 20;

/// Classes drawn in parallel before they are written.
const CHUNK: usize = 64;

/// Straight lines that approximate a stroke.
const POINTS: usize = 24;

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub struct SyntheticOptions {
    /// Number of glyph classes.
    pub classes: usize,
    /// Height and width in pixels.
    pub size: usize,
    /// Seed of glyphs, jitter and split.
    pub seed: u64,
}

impl Default for SyntheticOptions {
    fn default() -> Self {
        SyntheticOptions {
            classes: 600,
            size: 28,
            seed: 0,
        }
    }
}

/// A stroke: control points of a Catmull–Rom spline in the unit square.
type Stroke = Vec<[f32; 2]>;

/// Draws the 600 default classes with the size and seed of the request.
pub(crate) fn import(request: &ImportRequest<'_>, _: &Scratch<'_>) -> Result<(), DataError> {
    let options = SyntheticOptions {
        size: request.size as usize,
        seed: request.seed,
        ..SyntheticOptions::default()
    };
    write_synthetic_pack(request.output, &options)
}

/// Draws the data set and writes it as a pack.
///
/// # Errors
/// If the size is out of range or the pack cannot be written.
pub fn write_synthetic_pack(path: &Path, options: &SyntheticOptions) -> Result<(), DataError> {
    let SyntheticOptions {
        classes,
        size,
        seed,
    } = *options;
    let shape = square(u32::try_from(size).unwrap_or(u32::MAX), 1)?;
    let split = seeded_split(classes, PartSizes::seventy_ten_twenty(classes), seed, 0)?;
    let metadata = PackMetadata {
        name: "synthetic".to_owned(),
        class_names: (0..classes)
            .map(|class| format!("glyph{class:04}"))
            .collect(),
        splits: BTreeMap::from([("default".to_owned(), split)]),
        default_split: "default".to_owned(),
        source: "random strokes drawn by hypertransformer".to_owned(),
        licence: LICENCE.to_owned(),
        content_hash: String::new(),
        notes: BTreeMap::from([
            ("ink".to_owned(), "high (255), background 0".to_owned()),
            ("seed".to_owned(), seed.to_string()),
        ]),
    };
    let mut writer = PackWriter::create(path, shape, &vec![IMAGES_PER_CLASS; classes], metadata)?;
    let all: Vec<u64> = (0..classes as u64).collect();
    for part in all.chunks(CHUNK) {
        let drawn = part
            .par_iter()
            .map(|&class| class_images(seed, class, size));
        for image in drawn.collect::<Vec<_>>().iter().flatten() {
            writer.push(image)?;
        }
    }
    writer.finish()
}

fn class_images(seed: u64, class: u64, size: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed, Purpose::Synthetic, class);
    let glyph: Vec<Stroke> = (0..1 + random.below(3))
        .map(|_| stroke(&mut random))
        .collect();
    (0..IMAGES_PER_CLASS)
        .map(|_| draw(&jitter(&glyph, &mut random), size, &mut random))
        .collect()
}

/// Draws three to five control points, each at a random distance and angle from the last.
fn stroke(random: &mut Random) -> Stroke {
    let within = |value: f32| value.clamp(0.12, 0.88);
    let mut point = [
        random.uniform_f32(0.15, 0.85),
        random.uniform_f32(0.15, 0.85),
    ];
    let mut stroke = vec![point];
    for _ in 0..2 + random.below(3) {
        let angle = random.uniform_f32(0.0, std::f32::consts::TAU);
        let length = random.uniform_f32(0.2, 0.5);
        point = [
            within(point[0] + length * angle.cos()),
            within(point[1] + length * angle.sin()),
        ];
        stroke.push(point);
    }
    stroke
}

/// One sample of a glyph: moves every control point a little, then rotates, shears, scales and shifts the glyph.
fn jitter(glyph: &[Stroke], random: &mut Random) -> Vec<Stroke> {
    let angle = random.normal_f32() * 0.15;
    let shear = random.normal_f32() * 0.1;
    let scale = [
        1.0 + random.normal_f32() * 0.09,
        1.0 + random.normal_f32() * 0.09,
    ];
    let shift = [random.normal_f32() * 0.04, random.normal_f32() * 0.04];
    let (sine, cosine) = angle.sin_cos();
    let mut moved = |point: &[f32; 2]| {
        let x = (point[0] - 0.5 + random.normal_f32() * 0.025) * scale[0];
        let y = (point[1] - 0.5 + random.normal_f32() * 0.025) * scale[1];
        let x = x + shear * y;
        [
            0.5 + cosine * x - sine * y + shift[0],
            0.5 + sine * x + cosine * y + shift[1],
        ]
    };
    glyph
        .iter()
        .map(|stroke| stroke.iter().map(&mut moved).collect())
        .collect()
}

/// Draws anti-aliased ink, `[size, size]` bytes; 255 where a pixel's centre is on a stroke.
fn draw(strokes: &[Stroke], size: usize, random: &mut Random) -> Vec<u8> {
    let pixels = size as f32;
    let radius = random.uniform_f32(0.6, 1.3) * pixels / 28.0;
    let mut ink = vec![0u8; size * size];
    for stroke in strokes {
        let points: Vec<[f32; 2]> = (0..=POINTS)
            .map(|step| along(stroke, step as f32 / POINTS as f32).map(|value| value * pixels))
            .collect();
        for pair in points.windows(2) {
            line(&mut ink, size, pair[0], pair[1], radius);
        }
    }
    ink
}

/// The point at `position` (0 to 1) along a Catmull–Rom spline.
fn along(stroke: &Stroke, position: f32) -> [f32; 2] {
    let last = stroke.len() - 1;
    let place = position * last as f32;
    let segment = (place as usize).min(last - 1);
    let t = place - segment as f32;
    let at = |index: isize| stroke[index.clamp(0, last as isize) as usize];
    let [p0, p1, p2, p3] = [-1, 0, 1, 2].map(|offset| at(segment as isize + offset));
    [0, 1].map(|axis| {
        0.5 * (2.0 * p1[axis]
            + (p2[axis] - p0[axis]) * t
            + (2.0 * p0[axis] - 5.0 * p1[axis] + 4.0 * p2[axis] - p3[axis]) * t * t
            + (3.0 * p1[axis] - p0[axis] - 3.0 * p2[axis] + p3[axis]) * t * t * t)
    })
}

fn line(ink: &mut [u8], size: usize, from: [f32; 2], to: [f32; 2], radius: f32) {
    let range = |axis: usize| {
        let low = from[axis].min(to[axis]) - radius - 1.0;
        let high = from[axis].max(to[axis]) + radius + 1.0;
        low.max(0.0) as usize..(high.max(0.0) as usize + 1).min(size)
    };
    let step = [to[0] - from[0], to[1] - from[1]];
    let length = (step[0] * step[0] + step[1] * step[1]).max(1e-9);
    for row in range(1) {
        for column in range(0) {
            let to_pixel = [column as f32 + 0.5 - from[0], row as f32 + 0.5 - from[1]];
            let t = ((to_pixel[0] * step[0] + to_pixel[1] * step[1]) / length).clamp(0.0, 1.0);
            let away = [to_pixel[0] - t * step[0], to_pixel[1] - t * step[1]];
            let distance = (away[0] * away[0] + away[1] * away[1]).sqrt();
            let value = ((radius + 0.5 - distance).clamp(0.0, 1.0) * 255.0).round() as u8;
            let pixel = &mut ink[row * size + column];
            *pixel = (*pixel).max(value);
        }
    }
}
