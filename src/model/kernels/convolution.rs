//! Convolutions, by the way that is fastest for their input.
use tch::Tensor;

use crate::base::device::sent;
use crate::model::kernels::tasks_as_channels::{faster_together, one_after_another, side_by_side};

/// Up to this many input channels one matrix product beats the convolution kernels: 3 times on a CPU at 28×28.
const FEW_CHANNELS: i64 = 3;

/// `[T·N, I, H, W]` → `[T·N, O, H', W']`, with a kernel `[O, I, k, l]`, or one for each task, `[T, O, I, k, l]`.
pub fn convolve(input: &Tensor, kernel: &Tensor, tasks: i64, stride: i64, padding: i64) -> Tensor {
    if kernel.dim() == 4 {
        return convolve_shared(input, kernel, None, stride, padding);
    }
    if tasks == 1 {
        return convolve_shared(input, &kernel.squeeze_dim(0), None, stride, padding);
    }
    if faster_together(input, tasks) && !of_pixels(input) {
        return by_groups(input, kernel, tasks, stride, padding);
    }
    let of_tasks = input.chunk(tasks, 0).into_iter().zip(kernel.unbind(0));
    let outputs: Vec<Tensor> = of_tasks
        .map(|(input, kernel)| convolve_shared(&input, &kernel, None, stride, padding))
        .collect();
    Tensor::cat(&outputs, 0)
}

/// The same with one kernel, `[O, I, k, l]`, and maybe a bias, `[O]`.
pub(crate) fn convolve_shared(
    input: &Tensor,
    kernel: &Tensor,
    bias: Option<&Tensor>,
    stride: i64,
    padding: i64,
) -> Tensor {
    if of_pixels(input) {
        let output = by_matrix_product(input, kernel, stride, padding);
        return match bias {
            Some(bias) => output + bias.view([1, -1, 1, 1]),
            None => output,
        };
    }
    grouped(input, kernel, bias, stride, padding, 1)
}

/// Whether these are images on a CPU, not activations.
pub(crate) fn of_pixels(input: &Tensor) -> bool {
    input.size()[1] <= FEW_CHANNELS && !input.requires_grad() && !input.device().is_cuda()
}

/// The mean over places of `input`, `[N, I, H, W]`, convolved without padding, `[N, O]`. A convolution is linear, so this
/// is the kernel on the mean patch, and nothing is convolved.
pub(crate) fn mean_of_convolved(
    input: &Tensor,
    kernel: &Tensor,
    bias: Option<&Tensor>,
    stride: i64,
) -> Tensor {
    let (images, channels, height, width) = input.size4().unwrap_or_default();
    let (_, _, rows, columns) = kernel.size4().unwrap_or_default();
    let by_rows = window_means(height, rows, stride, input)
        .expand([images, -1, -1], false)
        .bmm(&input.permute([0, 2, 3, 1]).flatten(2, 3));
    let patches = window_means(width, columns, stride, input)
        .expand([images * rows, -1, -1], false)
        .bmm(&by_rows.view([images * rows, width, channels]));
    let kernel = kernel.permute([0, 2, 3, 1]).flatten(1, 3);
    patches.view([images, -1]).linear(&kernel, bias)
}

/// `[1, kernel, length]`: row i times values along an axis is the mean of those that a kernel's place i meets.
fn window_means(length: i64, kernel: i64, stride: i64, like: &Tensor) -> Tensor {
    let count = (length - kernel) / stride + 1;
    let meets = |place: i64, value: i64| {
        let from_start = value - place;
        from_start >= 0 && from_start % stride == 0 && from_start / stride < count
    };
    let share = 1.0 / count as f64;
    let numbers: Vec<f64> = (0..kernel)
        .flat_map(|place| (0..length).map(move |value| (place, value)))
        .map(|(place, value)| if meets(place, value) { share } else { 0.0 })
        .collect();
    let means = Tensor::from_slice(&numbers).view([1, kernel, length]);
    sent(means.to_kind(like.kind()), like.device())
}

/// Each task's kernel is one group of a grouped convolution.
fn by_groups(input: &Tensor, kernel: &Tensor, tasks: i64, stride: i64, padding: i64) -> Tensor {
    let beside = side_by_side(input, tasks);
    let output = grouped(&beside, &kernel.flatten(0, 1), None, stride, padding, tasks);
    one_after_another(&output, tasks)
}

fn grouped(
    input: &Tensor,
    kernel: &Tensor,
    bias: Option<&Tensor>,
    stride: i64,
    padding: i64,
    groups: i64,
) -> Tensor {
    let kernel = match input.device().is_cuda() {
        true => kernel.shallow_clone(),
        false => channels_last(kernel),
    };
    input.conv2d(
        &kernel,
        bias,
        [stride, stride],
        [padding, padding],
        [1, 1],
        groups,
    )
}

/// Every patch that a kernel of `rows` × `columns` covers, as a column of one matrix an image, `[N, I·rows·columns,
/// H'·W']`; H' and W'.
pub(crate) fn patches(
    input: &Tensor,
    (rows, columns): (i64, i64),
    stride: i64,
    padding: i64,
) -> (Tensor, (i64, i64)) {
    let padded = input
        .constant_pad_nd([padding, padding, padding, padding])
        .contiguous();
    let (images, channels, height, width) = padded.size4().unwrap_or_default();
    let (out_height, out_width) = ((height - rows) / stride + 1, (width - columns) / stride + 1);
    let area = height * width;
    let patches = padded
        .as_strided(
            [images, channels, rows, columns, out_height, out_width],
            [channels * area, area, width, 1, stride * width, stride],
            0,
        )
        .reshape([images, channels * rows * columns, out_height * out_width]);
    (patches, (out_height, out_width))
}

/// All patches of an image times the kernel.
fn by_matrix_product(input: &Tensor, kernel: &Tensor, stride: i64, padding: i64) -> Tensor {
    let (outputs, _, rows, columns) = kernel.size4().unwrap_or_default();
    let (patches, (out_height, out_width)) = patches(input, (rows, columns), stride, padding);
    let images = input.size()[0];
    let matrix = kernel
        .flatten(1, -1)
        .tr()
        .unsqueeze(0)
        .expand([images, -1, -1], false);
    patches
        .transpose(1, 2)
        .bmm(&matrix)
        .view([images, out_height, out_width, outputs])
        .permute([0, 3, 1, 2])
}

/// The same tensor with channels innermost in memory: a kernel laid out so makes libtorch's CPU convolutions answer
/// in kind, and pooling is then several times faster.
fn channels_last(tensor: &Tensor) -> Tensor {
    tensor
        .permute([0, 2, 3, 1])
        .contiguous()
        .permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// Maps that are small enough to be computed together, and maps that are not.
    #[test]
    fn each_task_has_its_kernel() {
        let (tasks, none) = (2, None::<&Tensor>);
        for (images, side) in [(3, 1), (3, 5), (40, 14)] {
            let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Double, Device::Cpu));
            let input = random(&[tasks * images, 8, side, side]).set_requires_grad(true);
            let kernel = random(&[tasks, 6, 8, 3, 3]);
            let of_task = |(input, kernel): (Tensor, Tensor)| {
                input.conv2d(&kernel, none, [1, 1], [1, 1], [1, 1], 1)
            };
            let apart = input.chunk(tasks, 0).into_iter().zip(kernel.unbind(0));
            let expected = Tensor::cat(&apart.map(of_task).collect::<Vec<_>>(), 0);
            for input in [&input, &channels_last(&input)] {
                let found = convolve(input, &kernel, tasks, 1, 1);
                assert!((found - &expected).abs().max().double_value(&[]) < 1e-12);
            }
        }
    }

    /// Strides, sizes that a stride does not divide, a kernel as large as the map.
    #[test]
    fn the_mean_of_a_convolution_is_that_of_its_output() {
        for (size, kernel, stride) in [
            ([9, 7], [3, 3], 1),
            ([8, 9], [3, 3], 2),
            ([2, 3], [2, 3], 1),
        ] {
            let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Double, Device::Cpu));
            let input = random(&[4, 5, size[0], size[1]]);
            let (kernel, bias) = (random(&[6, 5, kernel[0], kernel[1]]), random(&[6]));
            let output = input.conv2d(&kernel, Some(&bias), [stride; 2], [0, 0], [1, 1], 1);
            let expected = output.mean_dim(&[2i64, 3][..], false, None);
            let found = mean_of_convolved(&input, &kernel, Some(&bias), stride);
            assert!((found - expected).abs().max().double_value(&[]) < 1e-12);
        }
    }
}
