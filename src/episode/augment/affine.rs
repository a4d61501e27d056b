//! Affine maps of images: jitter, rotations by any angle, mirroring and crops, applied in one pass over the pixels.

use crate::base::random::Random;
use crate::pack::shape::ImageShape;
use crate::settings::augmentation::JitterOptions;

/// Fraction bits of source coordinates; 1/256 of a pixel changes a value by at most one grey level.
const FRACTION: i32 = 8;

/// Maps each target pixel to the source position that it shows; coordinates are relative to the image's centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Affine {
    matrix: [[f32; 2]; 2],
    shift: [f32; 2],
}

impl Affine {
    /// The identity.
    pub(crate) const IDENTITY: Affine = Affine {
        matrix: [[1.0, 0.0], [0.0, 1.0]],
        shift: [0.0, 0.0],
    };

    /// Rotation counter-clockwise by an angle in degrees.
    pub(crate) fn turn(degrees: f32) -> Affine {
        let (sine, cosine) = degrees.to_radians().sin_cos();
        Affine {
            matrix: [[cosine, sine], [-sine, cosine]],
            ..Affine::IDENTITY
        }
    }

    /// Reflection that swaps left and right.
    pub(crate) fn mirror() -> Affine {
        Affine {
            matrix: [[1.0, 0.0], [0.0, -1.0]],
            ..Affine::IDENTITY
        }
    }

    /// Random crop that keeps the aspect ratio: its side is a fraction of the image's, uniform from `smallest` to 1,
    /// its position uniform.
    pub(crate) fn draw_crop(smallest: f64, shape: ImageShape, random: &mut Random) -> Affine {
        let side = random.uniform_f32(smallest as f32, 1.0);
        let mut offset = |size: usize| {
            let room = (1.0 - side) * (size as f32 - 1.0) / 2.0;
            random.uniform_f32(-1.0, 1.0) * room
        };
        Affine {
            matrix: [[side, 0.0], [0.0, side]],
            shift: [offset(shape.height), offset(shape.width)],
        }
    }

    /// The map that applies `inner` to an image and then `self` to the result.
    pub(crate) fn after(self, inner: Affine) -> Affine {
        let through = |place: [f32; 2]| {
            inner
                .matrix
                .map(|row| row[0] * place[0] + row[1] * place[1])
        };
        let columns = [0, 1].map(|column| through(self.matrix.map(|row| row[column])));
        let moved = through(self.shift);
        Affine {
            matrix: [0, 1].map(|row| [columns[0][row], columns[1][row]]),
            shift: [moved[0] + inner.shift[0], moved[1] + inner.shift[1]],
        }
    }

    /// Draws rotation, scale (log-uniform, the same for both axes), shear and shift, each uniform in its range.
    pub(crate) fn draw(options: &JitterOptions, shape: ImageShape, random: &mut Random) -> Affine {
        let mut within = |range: f64| random.uniform_f32(-1.0, 1.0) * range as f32;
        let (sine, cosine) = within(options.rotation).to_radians().sin_cos();
        let scale = within((1.0 + options.scale).ln()).exp();
        let shear = within(options.shear);
        let shift = [shape.height, shape.width].map(|size| within(options.shift) * size as f32);
        // Coordinates are (row, column). A source position is shear along the row, then rotation, divided by the scale.
        let turn = [[cosine, -sine], [sine, cosine]];
        let matrix = turn.map(|row| [row[0] / scale, (row[1] + shear * row[0]) / scale]);
        Affine { matrix, shift }
    }

    /// Transforms `source`, `[H, W, C]`, and writes it to `target`, `[C, H, W]`: bilinear interpolation, edge pixels
    /// repeated beyond the border.
    pub(crate) fn apply(&self, source: &[u8], shape: ImageShape, target: &mut [u8]) {
        // The inner loop runs over channels; a constant number of them lets the compiler unroll it.
        match shape.channels {
            1 => self.apply_to(source, shape, 1, target),
            3 => self.apply_to(source, shape, 3, target),
            channels => self.apply_to(source, shape, channels, target),
        }
    }

    #[inline(always)]
    fn apply_to(&self, source: &[u8], shape: ImageShape, channels: usize, target: &mut [u8]) {
        let ImageShape { height, width, .. } = shape;
        let one = (1 << FRACTION) as f32;
        let step = self.matrix.map(|row| (row[1] * one) as i32);
        let centre = [height, width].map(|size| (size as f32 - 1.0) / 2.0);
        let bound = [height, width].map(|size| (size as i32 - 1) << FRACTION);
        let stride = [width * channels, channels];
        for row in 0..height {
            // Source position of the first pixel of this row, in fixed point.
            let from_centre = [row as f32 - centre[0], -centre[1]];
            let mut place = [0, 1].map(|axis| {
                let [by_row, by_column] = self.matrix[axis];
                let at = by_row * from_centre[0] + by_column * from_centre[1];
                ((at + centre[axis] + self.shift[axis]) * one) as i32
            });
            for column in 0..width {
                let at = [0, 1].map(|axis| place[axis].clamp(0, bound[axis]));
                let index = at.map(|at| (at >> FRACTION) as usize);
                let part = at.map(|at| (at & ((1 << FRACTION) - 1)) as u32);
                // A neighbour beyond the last row or column has weight 0, so any pixel may stand in for it.
                let next = [0, 1].map(|axis| if part[axis] > 0 { stride[axis] } else { 0 });
                let first = index[0] * stride[0] + index[1] * stride[1];
                let corners = [0, next[1], next[0], next[0] + next[1]]
                    .map(|offset| &source[first + offset..][..channels]);
                for channel in 0..channels {
                    let [left, right, left_below, right_below] =
                        corners.map(|pixel| u32::from(pixel[channel]));
                    let mix = |left: u32, right: u32, part: u32| {
                        left * ((1 << FRACTION) - part) + right * part
                    };
                    let upper = mix(left, right, part[1]);
                    let lower = mix(left_below, right_below, part[1]);
                    let value = mix(upper, lower, part[0]) + (1 << (2 * FRACTION - 1));
                    target[(channel * height + row) * width + column] =
                        (value >> (2 * FRACTION)) as u8;
                }
                place = [place[0] + step[0], place[1] + step[1]];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Purpose;
    use crate::pack::shape::Element;

    const SHAPE: ImageShape = ImageShape {
        height: 6,
        width: 5,
        channels: 2,
        element: Element::Byte,
    };

    fn image() -> Vec<u8> {
        (0..60).map(|value| value * 4).collect()
    }

    fn moved(matrix: [[f32; 2]; 2], shift: [f32; 2]) -> Vec<u8> {
        let mut target = vec![0; 60];
        Affine { matrix, shift }.apply(&image(), SHAPE, &mut target);
        target
    }

    #[test]
    fn maps_follow_one_another_and_a_mirror_swaps_columns() {
        let crop = Affine {
            matrix: [[0.5, 0.0], [0.0, 0.5]],
            shift: [1.0, -0.5],
        };
        // The centre of the crop is (1, -0.5) in the rotated image; the quarter turn maps that to (-0.5, -1).
        let both = crop.after(Affine::turn(90.0));
        let close = |found: f32, expected: f32| (found - expected).abs() < 1e-6;
        assert!(
            close(both.shift[0], -0.5) && close(both.shift[1], -1.0),
            "{both:?}"
        );
        assert!(
            close(both.matrix[0][1], 0.5) && close(both.matrix[1][0], -0.5),
            "{both:?}"
        );
        assert_eq!(crop.after(Affine::IDENTITY), crop);
        let mut target = vec![0; 60];
        Affine::mirror().apply(&image(), SHAPE, &mut target);
        assert_eq!(at(&target, 1, 3, 0), image()[(3 * 5 + 4) * 2 + 1]);
    }

    #[test]
    fn a_turn_is_counter_clockwise_as_quarter_turns_are() {
        let square = ImageShape {
            height: 4,
            width: 4,
            channels: 1,
            element: Element::Byte,
        };
        let source: Vec<u8> = (0..16).map(|value| value * 16).collect();
        let mut target = vec![0; 16];
        Affine::turn(90.0).apply(&source, square, &mut target);
        assert_eq!(target, crate::pack::pixels::turn(&source, square, 1));
    }

    #[test]
    fn crops_stay_inside_and_reach_the_border() {
        let mut random = Random::new(0, Purpose::Augmentation, 2);
        let mut nearest = [f32::INFINITY; 2];
        for _ in 0..2000 {
            let crop = Affine::draw_crop(0.6, SHAPE, &mut random);
            let side = crop.matrix[0][0];
            assert!((0.6..=1.0).contains(&side) && crop.matrix[1][1] == side);
            for (axis, size) in [(0, 6.0), (1, 5.0)] {
                let centre = (size - 1.0) / 2.0;
                let first = centre - side * centre + crop.shift[axis];
                assert!(first > -1e-4 && first + side * (size - 1.0) < size - 1.0 + 1e-4);
                nearest[axis] = nearest[axis].min(first);
            }
        }
        assert!(nearest.iter().all(|&first| first < 0.01), "{nearest:?}");
    }

    fn at(target: &[u8], channel: usize, row: usize, column: usize) -> u8 {
        target[(channel * 6 + row) * 5 + column]
    }

    #[test]
    fn no_jitter_changes_nothing_but_the_order_of_axes() {
        let mut random = Random::new(0, Purpose::Augmentation, 0);
        let affine = Affine::draw(&JitterOptions::default(), SHAPE, &mut random);
        let mut target = vec![0; 60];
        affine.apply(&image(), SHAPE, &mut target);
        for (index, pixel) in image().into_iter().enumerate() {
            let (place, channel) = (index / 2, index % 2);
            assert_eq!(at(&target, channel, place / 5, place % 5), pixel);
        }
    }

    #[test]
    fn a_shift_moves_pixels_halves_mix_them_and_the_edge_is_repeated() {
        let identity = [[1.0, 0.0], [0.0, 1.0]];
        let target = moved(identity, [1.0, 0.5]);
        let source = |row: usize, column: usize| u32::from(image()[(row * 5 + column) * 2]);
        // Row 2 shows row 3, between columns 1 and 2.
        let expected = (source(3, 1) + source(3, 2)).div_ceil(2);
        assert_eq!(u32::from(at(&target, 0, 2, 1)), expected);
        assert_eq!(at(&target, 0, 5, 4), image()[(5 * 5 + 4) * 2]);
    }

    #[test]
    fn a_quarter_turn_is_about_the_centre() {
        // Target row 3, column 2 lies (0.5, 0) from the centre (2.5, 2). Turned that is (0, −0.5), and shifted by half
        // a row row 3, between columns 1 and 2.
        let target = moved([[0.0, 1.0], [-1.0, 0.0]], [0.5, 0.0]);
        let [left, right] = [1, 2].map(|column| u32::from(image()[(3 * 5 + column) * 2]));
        assert_eq!(u32::from(at(&target, 0, 3, 2)), (left + right).div_ceil(2));
    }

    #[test]
    fn draws_stay_within_their_ranges_and_fill_them() {
        let options = JitterOptions {
            rotation: 0.0,
            scale: 0.2,
            shear: 0.0,
            shift: 0.1,
        };
        let mut random = Random::new(0, Purpose::Augmentation, 1);
        let draws: Vec<Affine> = (0..2000)
            .map(|_| Affine::draw(&options, SHAPE, &mut random))
            .collect();
        let range = |value: fn(&Affine) -> f32| {
            let values = draws.iter().map(value);
            let least = values.clone().fold(f32::INFINITY, f32::min);
            (least, values.fold(f32::NEG_INFINITY, f32::max))
        };
        let (least, most) = range(|affine| affine.matrix[0][0]);
        assert!((1.0 / 1.2 - 1e-5..0.84).contains(&least), "{least}");
        assert!((1.19..=1.2 + 1e-5).contains(&most), "{most}");
        let (least, most) = range(|affine| affine.shift[0]);
        assert!((-0.6..-0.59).contains(&least), "{least}");
        assert!((0.59..=0.6).contains(&most), "{most}");
    }
}
