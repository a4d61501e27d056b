//! Channels, height and width of images and activations.

use std::fmt;

use serde::Serialize;

use crate::pack::shape::ImageShape;

/// Channels, height and width of an image or of a layer's activations; serialized as `[channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "[usize; 3]")]
pub struct MapSize {
    /// C.
    pub channels: usize,
    /// H, rows.
    pub height: usize,
    /// W, columns.
    pub width: usize,
}

impl MapSize {
    /// Spatial positions, H · W.
    pub fn area(self) -> usize {
        self.height * self.width
    }

    /// Elements, C · H · W.
    pub fn volume(self) -> usize {
        self.channels * self.area()
    }
}

impl From<[usize; 3]> for MapSize {
    fn from([channels, height, width]: [usize; 3]) -> MapSize {
        MapSize {
            channels,
            height,
            width,
        }
    }
}

impl From<MapSize> for [usize; 3] {
    fn from(size: MapSize) -> [usize; 3] {
        [size.channels, size.height, size.width]
    }
}

impl From<ImageShape> for MapSize {
    fn from(shape: ImageShape) -> MapSize {
        [shape.channels, shape.height, shape.width].into()
    }
}

impl fmt::Display for MapSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}×{}×{}",
            self.channels, self.height, self.width
        )
    }
}
