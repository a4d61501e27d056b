//! Convolutions, by the way that is fastest for their input.

use tch::Tensor;

/// Up to this many input channels one matrix product beats the convolution kernels: 3 times on a CPU at 28×28.
const FEW_CHANNELS: i64 = 3;

/// `[T·N, I, H, W]` → `[T·N, O, H', W']`, with a kernel `[O, I, k, l]`, or one for each task, `[T, O, I, k, l]`.
pub(super) fn convolve(
    input: &Tensor,
    kernel: &Tensor,
    tasks: i64,
    stride: i64,
    padding: i64,
) -> Tensor {
    if kernel.dim() == 4 {
        return convolve_shared(input, kernel, None, stride, padding);
    }
    if tasks == 1 {
        return convolve_shared(input, &kernel.squeeze_dim(0), None, stride, padding);
    }
    if input.device().is_cuda() {
        return by_groups(input, kernel, tasks, stride, padding);
    }
    let of_tasks = input.chunk(tasks, 0).into_iter().zip(kernel.unbind(0));
    let outputs: Vec<Tensor> = of_tasks
        .map(|(input, kernel)| convolve_shared(&input, &kernel, None, stride, padding))
        .collect();
    Tensor::cat(&outputs, 0)
}

/// The same with one kernel, `[O, I, k, l]`, and maybe a bias, `[O]`.
pub(super) fn convolve_shared(
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
    grouped(input, &channels_last(kernel), bias, stride, padding, 1)
}

/// Whether these are images on a CPU, not activations.
pub(super) fn of_pixels(input: &Tensor) -> bool {
    input.size()[1] <= FEW_CHANNELS && !input.requires_grad() && !input.device().is_cuda()
}

/// Each task's kernel is one group of a grouped convolution.
fn by_groups(input: &Tensor, kernel: &Tensor, tasks: i64, stride: i64, padding: i64) -> Tensor {
    let (all, channels, height, width) = input.size4().unwrap_or_default();
    let images = all / tasks;
    let side_by_side = input
        .view([tasks, images, channels, height, width])
        .transpose(0, 1)
        .reshape([images, tasks * channels, height, width]);
    let output = grouped(
        &side_by_side,
        &kernel.flatten(0, 1),
        None,
        stride,
        padding,
        tasks,
    );
    let (_, _, height, width) = output.size4().unwrap_or_default();
    output
        .view([images, tasks, -1, height, width])
        .transpose(0, 1)
        .reshape([all, -1, height, width])
}

fn grouped(
    input: &Tensor,
    kernel: &Tensor,
    bias: Option<&Tensor>,
    stride: i64,
    padding: i64,
    groups: i64,
) -> Tensor {
    input.conv2d(
        kernel,
        bias,
        [stride, stride],
        [padding, padding],
        [1, 1],
        groups,
    )
}

/// Every patch that a kernel of `rows` × `columns` covers, as a column of one matrix an image, `[N, I·rows·columns,
/// H'·W']`; H' and W'.
pub(super) fn patches(
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
