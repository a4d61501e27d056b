//! Times of single kernels of an episode, each beside what it replaces: `make kernels`, or one of them by
//! `cargo bench --bench kernels -- statistics`. One thread; sizes of Omniglot, 20-way 1-shot with 60 queries.
use divan::Bencher;
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

/// Images of all tasks, each task's kernel and shift, and a gradient that arrives at the pooled output.
fn first_block(channels: i64) -> [Tensor; 4] {
    let images = random(&[TASKS * IMAGES, 1, 28, 28]);
    let kernel = random(&[TASKS, channels, 1, 3, 3]);
    let shift = random(&[TASKS, channels]);
    let arriving = random(&[TASKS * IMAGES, channels, 14, 14]);
    [images, kernel, shift, arriving]
}

/// Convolution, shift, pooling and ReLU in one pass, and back.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn block_in_one_pass(bencher: Bencher, channels: i64) {
    let [images, kernel, shift, arriving] = first_block(channels);
    bencher.bench_local(|| {
        let (_, kept) = pooled_convolution::forward(&images, &kernel, &shift, 1);
        pooled_convolution::backward(&kept, &arriving)
    });
}

/// The same as operations of libtorch, as other blocks are computed: pooled before all else.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn block_of_operations(bencher: Bencher, channels: i64) {
    let [images, kernel, shift, arriving] = first_block(channels);
    bencher.bench_local(|| {
        let (kernel, shift) = (leaf(&kernel), leaf(&shift));
        let pooled = convolve(&images, &kernel, TASKS, 1, 1)
            .max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
            .view([TASKS, IMAGES, channels, 14, 14]);
        let output = (pooled + shift.view([TASKS, 1, channels, 1, 1])).relu();
        let loss = (output.flatten(0, 1) * &arriving).sum(Kind::Float);
        Tensor::run_backward(&[&loss], &[&kernel, &shift], false, false)
    });
}

/// Means and variances of convolved images by the moments of their patches, and back.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn statistics_of_patches(bencher: Bencher, channels: i64) {
    time_statistics(bencher, channels, |images, kernel| {
        Statistics::of_convolved_images(images, kernel, TASKS, None, 1)
    });
}

/// The same by convolving.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn statistics_of_activations(bencher: Bencher, channels: i64) {
    time_statistics(bencher, channels, |images, kernel| {
        let convolved = images.conv2d(kernel, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
        Statistics::of(&convolved, TASKS, None)
    });
}

/// Of images convolved with one kernel for all tasks, and back to that kernel.
fn time_statistics(bencher: Bencher, channels: i64, way: impl Fn(&Tensor, &Tensor) -> Statistics) {
    let [images, kernel, ..] = first_block(channels);
    let kernel = kernel.get(0);
    bencher.bench_local(|| {
        let kernel = leaf(&kernel);
        let statistics = way(&images, &kernel);
        let loss = statistics.mean.sum(Kind::Float) + statistics.variance.sum(Kind::Float);
        Tensor::run_backward(&[&loss], &[&kernel], false, false)
    });
}

/// A generator's Transformer, 3 layers, one token an output channel and a support sample, and back.
#[divan::bench(args = CHANNELS, max_time = 2)]
fn transformer(bencher: Bencher, channels: i64) {
    let width = 64 + channels;
    let mut layout = ParameterLayout::default();
    let config = StackConfig {
        width: width as usize,
        memory_width: None,
        layers: 3,
        heads: 2,
        query_key: width as usize,
        value: width as usize,
        inner: 2 * width as usize,
        attention: AttentionKind::Softmax,
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
