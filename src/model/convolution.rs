//! Convolutions, by the way that is fastest for their input.

use tch::Tensor;

/// Up to this many input channels one matrix product beats the convolution kernels: 3 times on a CPU at 28×28.
const FEW_CHANNELS: i64 = 3;

/// `[N, I, H, W]` with a kernel `[O, I, k, l]` → `[N, O, H', W']`, channels innermost in memory.
pub(super) fn convolve(input: &Tensor, kernel: &Tensor, stride: i64, padding: i64) -> Tensor {
    let of_pixels = input.size()[1] <= FEW_CHANNELS && !input.requires_grad();
    if of_pixels && !input.device().is_cuda() {
        return by_matrix_product(input, kernel, stride, padding);
    }
    let (stride, padding) = ([stride, stride], [padding, padding]);
    input.conv2d(
        &channels_last(kernel),
        None::<&Tensor>,
        stride,
        padding,
        [1, 1],
        1,
    )
}

/// Every patch that the kernel covers as a column of one matrix an image, times the kernel.
fn by_matrix_product(input: &Tensor, kernel: &Tensor, stride: i64, padding: i64) -> Tensor {
    let padded = input
        .constant_pad_nd([padding, padding, padding, padding])
        .contiguous();
    let (images, channels, height, width) = padded.size4().unwrap_or_default();
    let (outputs, _, rows, columns) = kernel.size4().unwrap_or_default();
    let (out_height, out_width) = ((height - rows) / stride + 1, (width - columns) / stride + 1);
    let area = height * width;
    let patches = padded
        .as_strided(
            [images, channels, rows, columns, out_height, out_width],
            [channels * area, area, width, 1, stride * width, stride],
            0,
        )
        .reshape([images, channels * rows * columns, out_height * out_width]);
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
