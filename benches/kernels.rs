//! Benchmarks of single kernels of an episode, each next to the libtorch operations that it replaces, on one thread
//! with the sizes of Omniglot, 20-way 1-shot with 60 queries. Run all with `make kernels`, or some by name with `cargo
//! bench --bench kernels -- statistics`.

use divan::Bencher;
use hypertransformer::model::generator::attention::AttentionConfig;
use hypertransformer::model::generator::transformer::{Context, Stack, StackConfig};
use hypertransformer::model::kernels::convolution::convolve;
use hypertransformer::model::kernels::pooled_convolution;
use hypertransformer::model::parameters::{ParameterLayout, leaf};
use hypertransformer::model::statistics::Statistics;
use hypertransformer::settings::generator::{AttentionKind, InnerNonlinearity};
use tch::{Device, Kind, Tensor};

#[path = "../src/platform/allocator.rs"]
mod allocator;
#[path = "../src/platform/mkl.rs"]
mod mkl;

const TASKS: i64 = 4;
const IMAGES: i64 = 80;
const CHANNELS: [i64; 3] = [8, 16, 64];

fn main() {
    tch::set_num_threads(1);
    divan::main();
}

fn random(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

/// Images of all tasks, `[T·N, 1, 28, 28]`, kernels, `[T, C, 1, 3, 3]`, shifts, `[T, C]`, and a gradient of the pooled
/// output, `[T·N, C, 14, 14]`.
fn first_block(channels: i64) -> [Tensor; 4] {
    let images = random(&[TASKS * IMAGES, 1, 28, 28]);
    let kernel = random(&[TASKS, channels, 1, 3, 3]);
    let shift = random(&[TASKS, channels]);
    let output_gradient = random(&[TASKS * IMAGES, channels, 14, 14]);
    [images, kernel, shift, output_gradient]
}

/// Forward and backward pass of convolution, shift, pooling and ReLU as a single kernel.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn block_in_one_pass(bencher: Bencher, channels: i64) {
    let [images, kernel, shift, output_gradient] = first_block(channels);
    bencher.bench_local(|| {
        let (_, kept) = pooled_convolution::forward(&images, &kernel, &shift, 1);
        pooled_convolution::backward(&kept, &output_gradient)
    });
}

/// Forward and backward pass of the same block as separate libtorch operations, pooling first, as in later blocks.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn block_of_operations(bencher: Bencher, channels: i64) {
    let [images, kernel, shift, output_gradient] = first_block(channels);
    bencher.bench_local(|| {
        let (kernel, shift) = (leaf(&kernel), leaf(&shift));
        let pooled = convolve(&images, &kernel, TASKS, 1, 1)
            .max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
            .view([TASKS, IMAGES, channels, 14, 14]);
        let output = (pooled + shift.view([TASKS, 1, channels, 1, 1])).relu();
        let loss = (output.flatten(0, 1) * &output_gradient).sum(Kind::Float);
        Tensor::run_backward(&[&loss], &[&kernel, &shift], false, false)
    });
}

/// Forward and backward pass of the means and variances of convolved images, computed from the moments of image
/// patches.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn statistics_of_patches(bencher: Bencher, channels: i64) {
    time_statistics(bencher, channels, |images, kernel| {
        Statistics::of_convolved_images(images, kernel, TASKS, None, 1)
    });
}

/// Forward and backward pass of the same statistics, computed from the convolved images.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn statistics_of_activations(bencher: Bencher, channels: i64) {
    time_statistics(bencher, channels, |images, kernel| {
        let convolved = images.conv2d(kernel, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
        Statistics::of(&convolved, TASKS, None)
    });
}

/// Times `compute` and its backward pass for images that are convolved with one kernel, shared by all tasks.
fn time_statistics(
    bencher: Bencher,
    channels: i64,
    compute: impl Fn(&Tensor, &Tensor) -> Statistics,
) {
    let [images, kernel, ..] = first_block(channels);
    let kernel = kernel.get(0);
    bencher.bench_local(|| {
        let kernel = leaf(&kernel);
        let statistics = compute(&images, &kernel);
        let loss = statistics.mean.sum(Kind::Float) + statistics.variance.sum(Kind::Float);
        Tensor::run_backward(&[&loss], &[&kernel], false, false)
    });
}

/// Forward and backward pass of a generator's Transformer with 3 layers and one token per output channel and per
/// support sample.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn transformer(bencher: Bencher, channels: i64) {
    let width = 64 + channels;
    let mut layout = ParameterLayout::default();
    let config = StackConfig {
        width: width as usize,
        memory_width: None,
        layers: 3,
        attention: AttentionConfig {
            heads: 2,
            query_key: width as usize,
            value: width as usize,
            kind: AttentionKind::Softmax,
        },
        inner: 2 * width as usize,
        nonlinearity: InnerNonlinearity::Relu,
        skip_last_nonlinearity: false,
        dropout: 0.0,
        pre_norm: false,
    };
    let stack = Stack::new(&mut layout, "stack", &config);
    let phi = Tensor::from_slice(&layout.initial_values(0));
    let tokens = random(&[TASKS, channels + 20, width]);
    bencher.bench_local(|| {
        let parameters = layout.leaves(&phi);
        let output = stack.forward(&parameters, &tokens, channels, Context::default());
        Tensor::run_backward(&[output.sum(Kind::Float)], parameters.all(), false, false)
    });
}
