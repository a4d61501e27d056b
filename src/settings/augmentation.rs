//! Settings of image augmentation: random affine maps, and the changes that are usual for photographs.

use serde::{Deserialize, Serialize};

/// Ranges of a random affine map; with all ranges 0 images stay unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JitterOptions {
    /// Largest rotation in degrees, in either direction.
    pub rotation: f64,
    /// Largest relative change of size; the factor is log-uniform between 1 / (1 + scale) and 1 + scale.
    pub scale: f64,
    /// Largest shear: columns shift by up to this many times the row's distance from the centre.
    pub shear: f64,
    /// Largest shift as a fraction of the image's size, in either direction.
    pub shift: f64,
}

impl JitterOptions {
    /// The identity.
    pub const NONE: JitterOptions = JitterOptions {
        rotation: 0.0,
        scale: 0.0,
        shear: 0.0,
        shift: 0.0,
    };

    /// Whether images stay unchanged.
    pub fn is_none(&self) -> bool {
        *self == JitterOptions::NONE
    }
}

/// Mirroring, colour changes and crops, applied in the order mirror, hue, brightness, contrast, crop. The defaults and
/// the order are those of the authors' program.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhotoOptions {
    /// Whether each image is mirrored horizontally with probability ½.
    pub flip: bool,
    /// Largest change of hue as a fraction of the colour circle, in either direction.
    pub hue: f64,
    /// Largest change of brightness as a fraction of its range, in either direction.
    pub brightness: f64,
    /// Contrast: distances from each channel's mean are multiplied by a factor within 1 ± this value.
    pub contrast: f64,
    /// Smallest side of the random crop, as a fraction of the image's side; 1 keeps the whole image.
    pub crop: f64,
    /// Which images share a colour change.
    pub colors: ColorDraw,
}

/// Which images share one change of hue, brightness and contrast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorDraw {
    /// All images of the support set share one, all queries another (the authors' program).
    ImageSet,
    /// All images of an episode share one.
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
