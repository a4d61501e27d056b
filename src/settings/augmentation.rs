//! What training does to images: a random affine map, and the changes usual for photographs.
use serde::{Deserialize, Serialize};

/// Ranges of a random affine map; all 0 changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JitterOptions {
    /// Turn, in degrees either way.
    pub rotation: f64,
    /// Larger or smaller by up to this fraction.
    pub scale: f64,
    /// Columns moved by up to this many times the row.
    pub shear: f64,
    /// Shift, as a fraction of the image's size, either way.
    pub shift: f64,
}

impl JitterOptions {
    /// Changes nothing.
    pub const NONE: JitterOptions = JitterOptions {
        rotation: 0.0,
        scale: 0.0,
        shear: 0.0,
        shift: 0.0,
    };

    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == JitterOptions::NONE
    }
}

/// Mirroring, colours and crops of colour images. The defaults are the ranges of the authors' program, in its order:
/// mirror, hue, brightness, contrast, crop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhotoOptions {
    /// Whether a coin is tossed for each image to mirror it left to right.
    pub flip: bool,
    /// Hue moved by up to this part of the colour circle, either way.
    pub hue: f64,
    /// Brightness moved by up to this part of its range, either way.
    pub brightness: f64,
    /// Distance of each channel's values from their mean times 1 ± up to this.
    pub contrast: f64,
    /// Least side of the random square of the image that is shown, 1 being the whole.
    pub crop: f64,
    /// For what colours are drawn.
    pub colors: ColorDraw,
}

/// For what one change of hue, brightness and contrast is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorDraw {
    /// The support set has one, the query set another (the authors' program).
    ImageSet,
    /// Support and queries share one.
    Episode,
    /// Each image has its own.
    Image,
}

impl Default for PhotoOptions {
    fn default() -> Self {
        PhotoOptions {
            flip: true,
            hue: 0.2,
            brightness: 0.3,
            contrast: 0.2,
            crop: 0.6,
            colors: ColorDraw::ImageSet,
        }
    }
}
