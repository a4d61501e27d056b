//! Random change of hue, brightness and contrast, as TensorFlow's `tf.image` defines them on bytes.

use pulp::Arch;

use crate::base::random::Random;
use crate::settings::augmentation::PhotoOptions;

/// A change of hue, brightness and contrast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Colors {
    /// Rotation of the hue, as a fraction of the colour circle.
    hue: f32,
    /// Added to values in 0 to 1.
    brightness: f32,
    /// Factor by which values move away from their channel's mean.
    contrast: f32,
}

impl Colors {
    /// Draws hue, brightness and contrast, each uniform in its range.
    pub(crate) fn draw(options: &PhotoOptions, random: &mut Random) -> Colors {
        let mut within = |range: f64| random.uniform_f32(-1.0, 1.0) * range as f32;
        Colors {
            hue: within(options.hue),
            brightness: within(options.brightness),
            contrast: 1.0 + within(options.contrast),
        }
    }

    /// Changes the image `pixels`, `[H, W, C]`: hue (RGB only), then brightness, then contrast, each rounded to bytes.
    pub(crate) fn apply(&self, pixels: &mut [u8], channels: usize) {
        if self.hue != 0.0 {
            turn_hues(pixels, self.hue);
        }
        if self.brightness == 0.0 && self.contrast == 1.0 {
            return;
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
    // A cast from float to integer saturates.
    (value + 0.5) as u8
}

/// Rotates the hue of RGB pixels by a fraction of the colour circle; each pixel keeps its largest and smallest value.
fn turn_hues(pixels: &mut [u8], turn: f32) {
    let plane = |channel: usize| -> Vec<f32> {
        let values = pixels[channel..].iter().step_by(3);
        values.map(|&value| f32::from(value)).collect()
    };
    let mut planes = [0, 1, 2].map(plane);
    // Plain arithmetic over whole planes is what the compiler vectorises.
    Arch::new().dispatch(|| turn_planes(&mut planes, turn));
    for (channel, plane) in planes.iter().enumerate() {
        for (value, &turned) in pixels[channel..].iter_mut().step_by(3).zip(plane) {
            *value = turned as u8;
        }
    }
}

/// The result has 0.5 added, so that truncation rounds it.
#[inline(always)]
fn turn_planes([red, green, blue]: &mut [Vec<f32>; 3], turn: f32) {
    // One instruction each; `f32::max` and `f32::min` also handle NaN.
    let larger = |one: f32, other: f32| if one > other { one } else { other };
    let smaller = |one: f32, other: f32| if one < other { one } else { other };
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let most = larger(larger(*red, *green), *blue);
        let least = smaller(smaller(*red, *green), *blue);
        let range = most - least;
        // A grey pixel has no hue; any divisor but 0 works.
        let divisor = larger(range, 1.0);
        // Sixths of the circle: 0 is red, 2 green, 4 blue.
        let (start, distance) = if most == *red {
            (0.0, *green - *blue)
        } else if most == *green {
            (2.0, *blue - *red)
        } else {
            (4.0, *red - *green)
        };
        // The rotation is less than a full circle, so one correction suffices.
        let hue = start + distance / divisor + 6.0 * turn;
        let hue = if hue < 0.0 { hue + 6.0 } else { hue };
        let hue = if hue >= 6.0 { hue - 6.0 } else { hue };
        // A channel is at its maximum within a sixth of the circle around its own hue and at its minimum beyond two
        // sixths. Red lies at both ends of the scale, so its distance is measured from the opposite hue, cyan.
        let value = |share: f32| least + smaller(larger(share, 0.0), 1.0) * range + 0.5;
        *red = value((hue - 3.0).abs() - 1.0);
        *green = value(2.0 - (hue - 2.0).abs());
        *blue = value(2.0 - (hue - 4.0).abs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Purpose;

    const SAME: Colors = Colors {
        hue: 0.0,
        brightness: 0.0,
        contrast: 1.0,
    };

    /// Expected values come from Python's `colorsys`.
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
            // Quartile i of a uniform draw lies at low + i/4 of the range; 0.02 of the range is more than 2.5 σ.
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
