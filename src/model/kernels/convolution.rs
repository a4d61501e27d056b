//! Convolutions of several tasks, computed by the fastest method for their input.

use tch::Tensor;

use crate::base::device::copy_to_device;
use crate::model::kernels::tasks_as_channels::{
    channels_to_tasks, one_call_is_faster, tasks_to_channels,
};
use crate::model::tensor_sizes::sizes;

/// Up to this many input channels one matrix product beats the convolution kernels: 3 times on a CPU at 28×28.
const FEW_CHANNELS: i64 = 3;

/// Convolves `[T·N, I, H, W]` → `[T·N, O, H', W']` with a kernel `[O, I, k, l]` that all tasks share, or with one
/// kernel per task, `[T, O, I, k, l]`.
pub fn convolve(input: &Tensor, kernel: &Tensor, tasks: i64, stride: i64, padding: i64) -> Tensor {
    if kernel.dim() == 4 {
        return convolve_shared(input, kernel, None, stride, padding);
    }
    if tasks == 1 {
        return convolve_shared(input, &kernel.squeeze_dim(0), None, stride, padding);
    }
    if one_call_is_faster(input, tasks) && !is_image_on_cpu(input) {
        return by_groups(input, kernel, tasks, stride, padding);
    }
    let pairs = input.chunk(tasks, 0).into_iter().zip(kernel.unbind(0));
    let outputs: Vec<Tensor> = pairs
        .map(|(input, kernel)| convolve_shared(&input, &kernel, None, stride, padding))
        .collect();
    Tensor::cat(&outputs, 0)
}

/// Convolves `[N, I, H, W]` → `[N, O, H', W']` with a single kernel, `[O, I, k, l]`, and optionally a bias, `[O]`.
pub(crate) fn convolve_shared(
    input: &Tensor,
    kernel: &Tensor,
    bias: Option<&Tensor>,
    stride: i64,
    padding: i64,
) -> Tensor {
    if is_image_on_cpu(input) {
        let output = by_matrix_product(input, kernel, stride, padding);
        return match bias {
            Some(bias) => output + bias.view([1, -1, 1, 1]),
            None => output,
        };
    }
    grouped(input, kernel, bias, stride, padding, 1)
}

/// Whether `input` is on a CPU, has few channels and needs no gradient: images, not activations.
pub(crate) fn is_image_on_cpu(input: &Tensor) -> bool {
    input.size()[1] <= FEW_CHANNELS && !input.requires_grad() && !input.device().is_cuda()
}

/// The mean over positions of `input`, `[N, I, H, W]`, convolved without padding: `[N, O]`. A convolution is linear, so
/// this is the kernel applied to the mean patch, and nothing is convolved.
pub(crate) fn mean_of_convolved(
    input: &Tensor,
    kernel: &Tensor,
    bias: Option<&Tensor>,
    stride: i64,
) -> Tensor {
    let [images, channels, height, width] = sizes(input, "input of a convolution");
    let [_, _, rows, columns] = sizes(kernel, "kernel");
    let by_rows = window_means(height, rows, stride, input)
        .expand([images, -1, -1], false)
        .bmm(&input.permute([0, 2, 3, 1]).flatten(2, 3));
    let patches = window_means(width, columns, stride, input)
        .expand([images * rows, -1, -1], false)
        .bmm(&by_rows.view([images * rows, width, channels]));
    let kernel = kernel.permute([0, 2, 3, 1]).flatten(1, 3);
    patches.view([images, -1]).linear(&kernel, bias)
}

/// `[1, kernel, length]`: row i times the values along an axis is the mean of the values that element i of the kernel
/// is multiplied with.
fn window_means(length: i64, kernel: i64, stride: i64, like: &Tensor) -> Tensor {
    let count = (length - kernel) / stride + 1;
    let is_covered = |element: i64, position: i64| {
        let from_start = position - element;
        from_start >= 0 && from_start % stride == 0 && from_start / stride < count
    };
    let share = 1.0 / count as f64;
    let numbers: Vec<f64> = (0..kernel)
        .flat_map(|element| (0..length).map(move |position| (element, position)))
        .map(|(element, position)| match is_covered(element, position) {
            true => share,
            false => 0.0,
        })
        .collect();
    let means = Tensor::from_slice(&numbers).view([1, kernel, length]);
    copy_to_device(means.to_kind(like.kind()), like.device())
}

/// One grouped convolution in which each task's kernel is a group.
fn by_groups(input: &Tensor, kernel: &Tensor, tasks: i64, stride: i64, padding: i64) -> Tensor {
    let input = tasks_to_channels(input, tasks);
    let output = grouped(&input, &kernel.flatten(0, 1), None, stride, padding, tasks);
    channels_to_tasks(&output, tasks)
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

/// Every patch that a kernel of `rows` × `columns` covers, as a column of one matrix per image,
/// `[N, I·rows·columns, H'·W']`; and H' and W'.
pub(crate) fn patches(
    input: &Tensor,
    (rows, columns): (i64, i64),
    stride: i64,
    padding: i64,
) -> (Tensor, (i64, i64)) {
    let padded = input
        .constant_pad_nd([padding, padding, padding, padding])
        .contiguous();
    let [images, channels, height, width] = sizes(&padded, "input of a convolution");
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

/// The kernel times all patches of each image.
fn by_matrix_product(input: &Tensor, kernel: &Tensor, stride: i64, padding: i64) -> Tensor {
    let [outputs, _, rows, columns] = sizes(kernel, "kernel");
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

/// The same values in channels-last memory layout. With such a kernel libtorch's CPU convolutions return channels-last
/// outputs, for which pooling is several times faster.
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

    /// Activations small enough for one call for all tasks, and larger ones.
    #[test]
    fn each_task_has_its_kernel() {
        let (tasks, none) = (2, None::<&Tensor>);
        for (images, side) in [(3, 1), (3, 5), (40, 14)] {
            let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Double, Device::Cpu));
            let input = random(&[tasks * images, 8, side, side]).set_requires_grad(true);
            let kernel = random(&[tasks, 6, 8, 3, 3]);
            let plain = |(input, kernel): (Tensor, Tensor)| {
                input.conv2d(&kernel, none, [1, 1], [1, 1], [1, 1], 1)
            };
            let pairs = input.chunk(tasks, 0).into_iter().zip(kernel.unbind(0));
            let expected = Tensor::cat(&pairs.map(plain).collect::<Vec<_>>(), 0);
            for input in [&input, &channels_last(&input)] {
                let found = convolve(input, &kernel, tasks, 1, 1);
                assert!((found - &expected).abs().max().double_value(&[]) < 1e-12);
            }
        }
    }

    /// Strides, sizes that a stride does not divide, and a kernel as large as the input.
    #[test]
    fn the_mean_of_a_convolution_equals_the_mean_of_its_output() {
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
