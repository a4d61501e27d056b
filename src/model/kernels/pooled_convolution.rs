//! 3×3 convolution of images, shift, 2×2 max-pooling and ReLU in one pass over the data, forward and backward.
//!
//! The first block of the CNN has more activations than all other blocks combined. With libtorch it takes about ten
//! passes over memory. Here the output of the convolution is never written, and the gradient of the kernel is computed
//! from the positions that pooling selected.

use pulp::{Arch, NullaryFnOnce};
use tch::Tensor;

use crate::model::kernels::elements::{Elements, elements_of, tensor_of};
use crate::model::kernels::lanes::{
    AREA, KERNEL_SIZE, LANES, Lanes, Shape, in_lanes, out_of_lanes, with_padding,
};

/// Selected position of an output that the ReLU set to 0; otherwise 0 … 3, the position in the pooling window.
const INACTIVE: u8 = 4;

/// What the backward pass needs from the forward pass.
#[derive(Debug)]
pub struct Saved {
    shape: Shape,
    /// Images with their padding, `[T·N, I, H, W]`.
    padded: Tensor,
    /// The position in the pooling window that each output comes from, or [`INACTIVE`]: `[T·N, H', W', O]`.
    selected: Vec<u8>,
}

/// relu(maxpool(images ∗ kernel) + shift), `[T·N, O, H', W']`, with zero padding. `images`: `[T·N, I, H, W]`; `kernel`
/// of each task: `[T, O, I, 3, 3]`; `shift`: `[T, O]`; all in single precision on the CPU.
pub fn forward(images: &Tensor, kernel: &Tensor, shift: &Tensor, padding: i64) -> (Tensor, Saved) {
    let padded = with_padding(images, padding);
    let size = |tensor: &Tensor, axis: usize| tensor.size()[axis] as usize;
    let pooled = |length: usize| (length + 1 - KERNEL_SIZE) / 2;
    let (height, width) = (size(&padded, 2), size(&padded, 3));
    let shape = Shape {
        tasks: size(kernel, 0),
        images: size(images, 0),
        planes: size(images, 1),
        padded: (height, width),
        pooled: (pooled(height), pooled(width)),
        outputs: size(kernel, 1),
    };
    // Not zeroed first, which for large images takes as long as the computation.
    let mut selected = Vec::with_capacity(shape.images * shape.output_length());
    let layout = [shape.images, shape.pooled.0, shape.pooled.1, shape.outputs];
    let output = tensor_of(&layout.map(|length| length as i64), |output| {
        Arch::new().dispatch(Compute {
            shape,
            padded: elements_of(&padded),
            kernel: &in_lanes(&kernel.flatten(2, -1), &shape),
            shift: &in_lanes(&shift.unsqueeze(2), &shape),
            output,
            selected: &mut selected,
        });
    });
    let output = output.permute([0, 3, 1, 2]);
    let saved = Saved {
        shape,
        padded,
        selected,
    };
    (output, saved)
}

/// Gradients of the kernel, `[T, O, I, 3, 3]`, and of the shift, `[T, O]`, from the gradient of the output,
/// `[T·N, O, H', W']`.
pub fn backward(saved: &Saved, gradient: &Tensor) -> (Tensor, Tensor) {
    let shape = &saved.shape;
    let blocks = shape.tasks * shape.blocks();
    let mut kernel = vec![[0.0; LANES]; blocks * shape.taps()];
    let mut shift = vec![[0.0; LANES]; blocks];
    Arch::new().dispatch(Accumulate {
        saved,
        gradient: elements_of(&gradient.permute([0, 2, 3, 1]).contiguous()),
        kernel: &mut kernel,
        shift: &mut shift,
    });
    let size = [shape.tasks, shape.outputs, shape.planes];
    let [tasks, outputs, planes] = size.map(|length| length as i64);
    let side = KERNEL_SIZE as i64;
    let kernel = out_of_lanes(&kernel, shape).view([tasks, outputs, planes, side, side]);
    (kernel, out_of_lanes(&shift, shape).squeeze_dim(2))
}

/// The computation of [`forward`].
struct Compute<'a, 'b> {
    shape: Shape,
    padded: &'a [f32],
    kernel: &'a [Lanes],
    shift: &'a [Lanes],
    output: &'a mut Elements<'b>,
    selected: &'a mut Vec<u8>,
}

// `Arch::dispatch` compiles this for each instruction set, so everything in it must be inlined.
impl NullaryFnOnce for Compute<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (shape, taps) = (self.shape, self.shape.taps());
        for (index, image) in self.padded.chunks_exact(shape.image_length()).enumerate() {
            let first = shape.first_block(index);
            for row in 0..shape.pooled.0 {
                for column in 0..shape.pooled.1 {
                    for block in 0..shape.blocks() {
                        let at = first + block;
                        let (kernel, _) = self.kernel[at * taps..(at + 1) * taps].as_chunks();
                        let sums = convolved(&shape, image, kernel, (row, column));
                        let (values, selected) = pool_and_activate(&sums, &self.shift[at]);
                        let lanes = shape.lanes(block);
                        self.output.extend_from_slice(&values[..lanes]);
                        self.selected.extend_from_slice(&selected[..lanes]);
                    }
                }
            }
        }
    }
}

/// The convolution at the four positions of a pooling window.
#[inline(always)]
fn convolved(
    shape: &Shape,
    image: &[f32],
    kernel: &[[Lanes; AREA]],
    place: (usize, usize),
) -> [Lanes; 4] {
    // Four variables instead of one array, so that they stay in registers.
    let [mut first, mut second, mut third, mut fourth] = [[0.0; LANES]; 4];
    for (plane, taps) in kernel.iter().enumerate() {
        let pixels = shape.window(image, plane, place);
        for y in 0..KERNEL_SIZE {
            for x in 0..KERNEL_SIZE {
                let tap = &taps[y * KERNEL_SIZE + x];
                multiply_add(&mut first, pixels[y][x], tap);
                multiply_add(&mut second, pixels[y][x + 1], tap);
                multiply_add(&mut third, pixels[y + 1][x], tap);
                multiply_add(&mut fourth, pixels[y + 1][x + 1], tap);
            }
        }
    }
    [first, second, third, fourth]
}

#[inline(always)]
fn multiply_add(sum: &mut Lanes, factor: f32, values: &Lanes) {
    for lane in 0..LANES {
        sum[lane] = factor.mul_add(values[lane], sum[lane]);
    }
}

/// Maximum of the four positions of a window, plus the shift, after ReLU; and the selected positions.
#[inline(always)]
fn pool_and_activate(sums: &[Lanes; 4], shift: &Lanes) -> (Lanes, [u8; LANES]) {
    let (mut values, mut selected) = ([0.0; LANES], [0; LANES]);
    for lane in 0..LANES {
        let (mut best, mut best_position) = (sums[0][lane], 0u32);
        for (position, sum) in (1..).zip(&sums[1..]) {
            let better = sum[lane] > best;
            best = if better { sum[lane] } else { best };
            best_position = if better { position } else { best_position };
        }
        let value = best + shift[lane];
        // Not `max`, which would hide NaN.
        let inactive = value <= 0.0;
        values[lane] = if inactive { 0.0 } else { value };
        selected[lane] = if inactive {
            INACTIVE
        } else {
            best_position as u8
        };
    }
    (values, selected)
}

/// The computation of [`backward`].
struct Accumulate<'a> {
    saved: &'a Saved,
    gradient: &'a [f32],
    kernel: &'a mut [Lanes],
    shift: &'a mut [Lanes],
}

impl NullaryFnOnce for Accumulate<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (shape, taps) = (self.saved.shape, self.saved.shape.taps());
        let images = elements_of(&self.saved.padded).chunks_exact(shape.image_length());
        let (mut gradient, mut selected) = (self.gradient, &self.saved.selected[..]);
        // Summed image by image, because a single sum over all positions would lose precision.
        let mut kernel_of_image = vec![[0.0; LANES]; shape.blocks() * taps];
        let mut shift_of_image = vec![[0.0; LANES]; shape.blocks()];
        for (index, image) in images.enumerate() {
            kernel_of_image.fill([0.0; LANES]);
            shift_of_image.fill([0.0; LANES]);
            for row in 0..shape.pooled.0 {
                for column in 0..shape.pooled.1 {
                    for block in 0..shape.blocks() {
                        let lanes = shape.lanes(block);
                        let (mut incoming, mut positions) = ([0.0; LANES], [INACTIVE; LANES]);
                        incoming[..lanes].copy_from_slice(&gradient[..lanes]);
                        positions[..lanes].copy_from_slice(&selected[..lanes]);
                        (gradient, selected) = (&gradient[lanes..], &selected[lanes..]);
                        let at_positions = scatter(&incoming, &positions);
                        for at_position in &at_positions {
                            multiply_add(&mut shift_of_image[block], 1.0, at_position);
                        }
                        let kernel = &mut kernel_of_image[block * taps..(block + 1) * taps];
                        let (kernel, _) = kernel.as_chunks_mut();
                        add_patches(&shape, image, kernel, (row, column), &at_positions);
                    }
                }
            }
            let start = shape.first_block(index);
            let kernel = self.kernel[start * taps..].iter_mut();
            let shift = self.shift[start..].iter_mut();
            for (sum, part) in kernel
                .zip(&kernel_of_image)
                .chain(shift.zip(&shift_of_image))
            {
                multiply_add(sum, 1.0, part);
            }
        }
    }
}

/// The gradient at the four positions of a pooling window.
#[inline(always)]
fn scatter(incoming: &Lanes, positions: &[u8; LANES]) -> [Lanes; 4] {
    let mut at_positions = [[0.0; LANES]; 4];
    for (position, at_position) in (0..).zip(&mut at_positions) {
        for lane in 0..LANES {
            let selected = positions[lane] == position;
            at_position[lane] = if selected { incoming[lane] } else { 0.0 };
        }
    }
    at_positions
}

/// Adds to the gradient of each kernel element its pixels at the four positions times the gradient at these positions.
#[inline(always)]
fn add_patches(
    shape: &Shape,
    image: &[f32],
    kernel: &mut [[Lanes; AREA]],
    place: (usize, usize),
    at_positions: &[Lanes; 4],
) {
    for (plane, taps) in kernel.iter_mut().enumerate() {
        let pixels = shape.window(image, plane, place);
        for y in 0..KERNEL_SIZE {
            for x in 0..KERNEL_SIZE {
                let tap = &mut taps[y * KERNEL_SIZE + x];
                multiply_add(tap, pixels[y][x], &at_positions[0]);
                multiply_add(tap, pixels[y][x + 1], &at_positions[1]);
                multiply_add(tap, pixels[y + 1][x], &at_positions[2]);
                multiply_add(tap, pixels[y + 1][x + 1], &at_positions[3]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn farthest(left: &Tensor, right: &Tensor) -> f64 {
        (left - right).abs().max().double_value(&[])
    }

    /// One and three planes, channels that do not fill a block, odd sizes, with and without padding.
    #[test]
    fn output_and_gradients_equal_those_of_single_operations() {
        for (planes, outputs, (height, width), padding) in [
            (1, 8, (28, 28), 1),
            (3, 11, (9, 12), 1),
            (2, 4, (7, 8), 0),
            (1, 1, (4, 4), 0),
        ] {
            let (tasks, images) = (2, 3);
            let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
            let pixels = random(&[tasks * images, planes, height, width]);
            let kernel = random(&[tasks, outputs, planes, 3, 3]).set_requires_grad(true);
            let shift = random(&[tasks, outputs]).set_requires_grad(true);
            let none = None::<&Tensor>;
            let expected: Vec<Tensor> = (0..tasks)
                .map(|task| {
                    let pixels = pixels.narrow(0, task * images, images);
                    let pad = [padding, padding];
                    let convolved = pixels.conv2d(&kernel.get(task), none, [1, 1], pad, [1, 1], 1);
                    let pooled = convolved.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false);
                    (pooled + shift.get(task).view([1, -1, 1, 1])).relu()
                })
                .collect();
            let expected = Tensor::cat(&expected, 0);
            let incoming = random(&expected.size());
            let loss = (&expected * &incoming).sum(Kind::Float);
            let gradients = Tensor::run_backward(&[&loss], &[&kernel, &shift], false, false);

            let (output, saved) = forward(&pixels, &kernel, &shift, padding);
            assert!(farthest(&output, &expected) < 1e-5);
            let (of_kernel, of_shift) = backward(&saved, &incoming);
            assert!(farthest(&of_kernel, &gradients[0]) < 1e-4);
            assert!(farthest(&of_shift, &gradients[1]) < 1e-4);
        }
    }

    #[test]
    fn nan_stays_nan() {
        let ones = Tensor::ones([1, 1, 4, 4], (Kind::Float, Device::Cpu));
        let kernel = Tensor::full([1, 1, 1, 3, 3], f64::NAN, (Kind::Float, Device::Cpu));
        let (output, _) = forward(
            &ones,
            &kernel,
            &Tensor::from_slice(&[0.0f32]).view([1, 1]),
            0,
        );
        assert!(output.double_value(&[0, 0, 0, 0]).is_nan());
    }
}
