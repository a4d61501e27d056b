//! Random change of hue, brightness and contrast, as TensorFlow's `tf.image` defines them on bytes.

use super::random::Random;
use crate::config::augmentation::PhotoOptions;

/// One change of colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Colors {
    /// Part of the colour circle.
    hue: f32,
    /// Added to values from 0 to 1.
    brightness: f32,
    /// Factor on the distance from a channel's mean.
    contrast: f32,
}

impl Colors {
    /// Draws each uniformly in its range.
    pub(super) fn draw(options: &PhotoOptions, random: &mut Random) -> Colors {
        let mut within = |range: f64| random.uniform_f32(-1.0, 1.0) * range as f32;
        Colors {
            hue: within(options.hue),
            brightness: within(options.brightness),
            contrast: 1.0 + within(options.contrast),
        }
    }

    /// Changes an image, `[H, W, C]`: hue (of RGB), then brightness, then contrast, each rounded to bytes.
    pub(super) fn apply(&self, pixels: &mut [u8], channels: usize) {
        if self.hue != 0.0 {
            for pixel in pixels.chunks_exact_mut(3) {
                turn_hue(pixel, self.hue);
            }
        }
        let brighter: [u8; 256] =
            std::array::from_fn(|value| to_byte(value as f32 + self.brightness * 255.0));
        for channel in 0..channels {
            let values = || pixels[channel..].iter().step_by(channels);
            let sum: u64 = values()
                .map(|&value| u64::from(brighter[usize::from(value)]))
                .sum();
            let mean = sum as f32 / values().len() as f32;
            let changed =
                brighter.map(|value| to_byte((f32::from(value) - mean) * self.contrast + mean));
            for value in pixels[channel..].iter_mut().step_by(channels) {
                *value = changed[usize::from(*value)];
            }
        }
    }
}

fn to_byte(value: f32) -> u8 {
    // A cast from float saturates.
    (value + 0.5) as u8
}

/// Moves the hue of an RGB pixel by a part of the colour circle, keeping its largest and smallest value.
fn turn_hue(pixel: &mut [u8], turn: f32) {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = most - least;
    if range == 0.0 {
        return;
    }
    // Sixths of the circle: 0 is red, 2 green, 4 blue.
    let hue = if most == red {
        (green - blue) / range
    } else if most == green {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    let hue = (hue + 6.0 * turn).rem_euclid(6.0);
    // A channel is full within a sixth of the circle about its own hue, and empty beyond two; red's hue is both ends, so
    // its distance is measured from the opposite, cyan.
    let full = |distance: f32| (2.0 - distance).clamp(0.0, 1.0);
    let shares = [
        ((hue - 3.0).abs() - 1.0).clamp(0.0, 1.0),
        full((hue - 2.0).abs()),
        full((hue - 4.0).abs()),
    ];
    for (value, share) in pixel.iter_mut().zip(shares) {
        *value = to_byte(least + share * range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::Purpose;

    const SAME: Colors = Colors {
        hue: 0.0,
        brightness: 0.0,
        contrast: 1.0,
    };

    /// Expected values are those of Python's `colorsys`.
    #[test]
    fn hues_turn_on_the_circle() {
        for (before, hue, after) in [
            ([200, 50, 100], 0.1, [200, 90, 50]),
            ([10, 240, 30], -0.15, [197, 240, 10]),
            ([30, 60, 250], 0.2, [250, 30, 236]),
            ([90, 90, 90], 0.2, [90, 90, 90]),
        ] {
            let mut pixel = before;
            Colors { hue, ..SAME }.apply(&mut pixel, 3);
            assert_eq!(pixel, after, "{before:?} by {hue}");
        }
    }

    #[test]
    fn brightness_shifts_and_saturates_and_contrast_is_about_each_channels_mean() {
        let image = [10, 100, 30, 110, 250, 120];
        let mut pixels = image;
        Colors {
            brightness: 0.1,
            ..SAME
        }
        .apply(&mut pixels, 2);
        assert_eq!(pixels, [36, 126, 56, 136, 255, 146]);
        let mut pixels = image;
        Colors {
            contrast: 0.5,
            ..SAME
        }
        .apply(&mut pixels, 2);
        // Means 290/3 and 110.
        assert_eq!(pixels, [53, 105, 63, 110, 173, 115]);
        let mut pixels = image;
        SAME.apply(&mut pixels, 2);
        assert_eq!(pixels, image);
    }

    #[test]
    fn draws_fill_their_ranges_and_no_more() {
        let mut random = Random::new(0, Purpose::Augmentation, 0);
        let options = PhotoOptions::default();
        let draws: Vec<Colors> = (0..4000)
            .map(|_| Colors::draw(&options, &mut random))
            .collect();
        for (value, low, high) in [
            (|colors: &Colors| colors.hue as f64, -0.2, 0.2),
            (|colors| colors.brightness as f64, -0.3, 0.3),
            (|colors| colors.contrast as f64, 0.8, 1.2),
        ] as [(fn(&Colors) -> f64, f64, f64); 3]
        {
            let mut values: Vec<f64> = draws.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            // Of a uniform draw, quartile i lies at low + i/4 of the range; 0.02 of it is more than 2.5 σ.
            for (quarter, &found) in [
                values[0],
                values[1000],
                values[2000],
                values[3000],
                values[3999],
            ]
            .iter()
            .enumerate()
            {
                let expected = low + (high - low) * quarter as f64 / 4.0;
                assert!(
                    (found - expected).abs() < 0.03 * (high - low),
                    "{found}, expected {expected}"
                );
            }
            assert!(values[0] >= low - 1e-6 && values[3999] <= high + 1e-6);
        }
    }
}
