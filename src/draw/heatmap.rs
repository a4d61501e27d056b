//! Heat maps: matrices as panels with titles and with labels for groups of rows and columns.

use image::{Rgb, RgbImage};
use ndarray::Array2;

use crate::draw::canvas::{LETTER, fill, write};

/// A matrix to draw as one panel.
#[derive(Clone, Debug)]
pub struct Heatmap {
    /// Text above the panel.
    pub title: String,
    /// Name and number of rows of each group of consecutive rows.
    pub row_groups: Vec<(String, usize)>,
    /// Name and number of columns of each group of consecutive columns.
    pub column_groups: Vec<(String, usize)>,
    /// Non-negative values, `[rows, columns]`; 0 is drawn white, the largest value dark blue.
    pub values: Array2<f32>,
}

/// Space around a panel and between its parts, in pixels.
const GAP: u32 = 8;
/// Width of the column of row labels.
const MARGIN: u32 = 4 * LETTER;
const LINE: Rgb<u8> = Rgb([0xd0, 0xd0, 0xd0]);
/// Colour of the largest value.
const DARK: [f32; 3] = [8.0, 48.0, 107.0];

/// Draws panels, arranged in rows.
pub fn draw(rows: &[Vec<Heatmap>]) -> RgbImage {
    let cell = cell_size(rows);
    let size = |panel: &Heatmap| {
        let (height, width) = panel.values.dim();
        let title = panel.caption().chars().count() as u32 * LETTER;
        let width = (MARGIN + width as u32 * cell).max(title);
        (
            width + 2 * GAP,
            height as u32 * cell + 2 * (LETTER + GAP) + GAP,
        )
    };
    let row_width = |row: &Vec<Heatmap>| row.iter().map(|panel| size(panel).0).sum::<u32>();
    let row_height = |row: &Vec<Heatmap>| row.iter().map(|panel| size(panel).1).max().unwrap_or(0);
    let width = rows.iter().map(row_width).max().unwrap_or(0).max(1);
    let height = rows.iter().map(row_height).sum::<u32>().max(1);
    let mut picture = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    let mut top = 0;
    for row in rows {
        let mut left = 0;
        for panel in row {
            panel.draw(&mut picture, (left, top), cell);
            left += size(panel).0;
        }
        top += row_height(row);
    }
    picture
}

/// Size of a cell in pixels, such that the longer side of the largest matrix is about 480 pixels.
fn cell_size(rows: &[Vec<Heatmap>]) -> u32 {
    let longest = |panel: &Heatmap| panel.values.dim().0.max(panel.values.dim().1);
    let longest = rows.iter().flatten().map(longest).max().unwrap_or(1).max(1);
    (480 / longest as u32).clamp(2, 24)
}

impl Heatmap {
    fn largest(&self) -> f32 {
        self.values.iter().copied().fold(0.0, f32::max)
    }

    fn caption(&self) -> String {
        format!("{}, max {:.3}", self.title, self.largest())
    }

    fn draw(&self, picture: &mut RgbImage, (left, top): (u32, u32), cell: u32) {
        write(picture, &self.caption(), (left + GAP, top + GAP));
        let (left, top) = (left + GAP + MARGIN, top + 2 * (GAP + LETTER));
        let (rows, columns) = self.values.dim();
        let largest = self.largest().max(f32::MIN_POSITIVE);
        for ((row, column), &value) in self.values.indexed_iter() {
            let fraction = (value / largest).clamp(0.0, 1.0);
            let colour = DARK.map(|dark| (255.0 + fraction * (dark - 255.0)) as u8);
            let (left, top) = (left + column as u32 * cell, top + row as u32 * cell);
            fill(picture, (left, top), (cell, cell), Rgb(colour));
        }
        let (height, width) = (rows as u32 * cell, columns as u32 * cell);
        let mut start = 0;
        for (name, count) in &self.row_groups {
            let (position, extent) = (top + start * cell, *count as u32 * cell);
            fill(picture, (left, position), (width, 1), LINE);
            if extent >= LETTER {
                let text_left = left - LETTER * name.chars().count() as u32 - 2;
                write(picture, name, (text_left, position + (extent - LETTER) / 2));
            }
            start += *count as u32;
        }
        let mut start = 0;
        for (name, count) in &self.column_groups {
            let (position, extent) = (left + start * cell, *count as u32 * cell);
            fill(picture, (position, top), (1, height), LINE);
            let length = LETTER * name.chars().count() as u32;
            if extent >= length {
                let text_left = position + (extent - length) / 2;
                write(picture, name, (text_left, top - LETTER - 1));
            }
            start += *count as u32;
        }
    }
}
