//! How weights are generated: slices and weights, the CNN that θ makes, and the start of training.

use hypertransformer::model::batch::EpisodeBatch;
use hypertransformer::model::generator::slices::{ConvolutionSlices, SliceContents};
use hypertransformer::model::weights::LogitsWeights;
use hypertransformer::settings::cnn::BatchNormMode;
use tch::{Device, Kind, Tensor};

use crate::common::episodes;
use crate::common::models::{largest_difference, setup};
use crate::common::variants::PAPER;

/// The slices of 4 kernels of 2×3×3.
fn convolution_slices(contents: SliceContents) -> ConvolutionSlices {
    ConvolutionSlices {
        contents,
        outputs: 4,
        inputs: 2,
        kernel_size: 3,
    }
}

#[test]
fn slices_become_convolutions_and_slices_again() {
    for contents in [0, 1, 3]
        .map(|further| SliceContents::OutputChannel { further })
        .into_iter()
        .chain([SliceContents::KernelPosition])
    {
        let layout = convolution_slices(contents);
        let shape = [2, layout.count() as i64, layout.length() as i64];
        let count = shape.iter().product::<i64>();
        let slices = Tensor::arange(count, (Kind::Float, Device::Cpu)).view(shape);
        let kernel = layout.kernel(&slices);
        assert_eq!(kernel.size(), [2, 4, 2, 3, 3]);
        let again = match contents {
            SliceContents::OutputChannel { further } => {
                let values = (0..further).map(|index| layout.channel_value(&slices, index));
                let values = values.map(|values| values.unsqueeze(2));
                let parts: Vec<Tensor> =
                    [kernel.flatten(2, -1)].into_iter().chain(values).collect();
                Tensor::cat(&parts, 2)
            }
            SliceContents::KernelPosition => kernel.permute([0, 3, 4, 2, 1]).reshape([2, 9, -1]),
        };
        assert_eq!(again, slices, "{contents:?}");
    }
}

#[test]
fn slices_become_a_logits_layer_and_slices_again() {
    let slices = Tensor::arange(2 * 5 * 9, (Kind::Float, Device::Cpu)).view([2, 5, 9]);
    let weights = LogitsWeights::from_slices(&slices);
    assert_eq!(weights.weight.size(), [2, 5, 8]);
    assert_eq!(weights.to_slices(), slices);
    // One query by hand: Σ w + b.
    let logits = weights.forward(&Tensor::ones([2, 1, 8], (Kind::Float, Device::Cpu)));
    assert_eq!(logits.double_value(&[0, 0, 0]), (0..9).sum::<i32>() as f64);
}

/// §4.1: output allocation gives each output channel a slice, spatial allocation each place of the kernel.
#[test]
fn a_slice_holds_one_output_channel_or_one_place() {
    // The kernels where the second slice is 1 and all others 0.
    let kernels = |contents| {
        let layout = convolution_slices(contents);
        let shape = [1, layout.count() as i64, layout.length() as i64];
        let slices = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let _ = slices.narrow(1, 1, 1).fill_(1.0);
        layout.kernel(&slices).get(0)
    };
    let sum = |values: &Tensor| values.sum(Kind::Float).double_value(&[]);
    let output = kernels(SliceContents::OutputChannel { further: 0 });
    assert_eq!((sum(&output.get(1)), sum(&output)), (18.0, 18.0));
    let spatial = kernels(SliceContents::KernelPosition);
    let place = spatial.select(3, 1).select(2, 0);
    assert_eq!((sum(&place), sum(&spatial)), (8.0, 8.0));
}

/// Images `[N, C, H, W]` through layers of 3×3 kernels and their batch-norm, in libtorch's own operations; `block` names
/// what follows each convolution: `a`ctivation, `b`atch-norm, `p`ooling.
fn plain_features(images: &Tensor, layers: &[[Tensor; 3]], block: &str) -> Tensor {
    let none = || None::<Tensor>;
    let mut values = images.shallow_clone();
    for [kernel, gamma, beta] in layers {
        values = values.conv2d(kernel, none(), [1, 1], [1, 1], [1, 1], 1);
        for operation in block.chars() {
            values = match operation {
                'a' => values.relu(),
                'p' => values.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
                _ => {
                    let [gamma, beta] = [gamma, beta].map(|values| Some(values.shallow_clone()));
                    values.batch_norm(gamma, beta, none(), none(), true, 0.1, 1e-3, false)
                }
            };
        }
    }
    values.flatten(1, -1)
}

/// Learned CNNs have γ of both signs here, for with noise of 0.7 some fall below 0.
#[test]
fn the_cnn_equals_plain_operations_with_the_same_weights() {
    let generated = [
        PAPER[0],
        "generator.generates=all",
        "generator.generate_batch_norm=true",
    ];
    let episodes = episodes(3, 2, 3);
    let batch = EpisodeBatch::new(&episodes, Device::Cpu);
    for (block, overrides, noise) in [
        (
            "bap",
            &["cnn.block=[convolution, batch_norm, activation, pool]"][..],
            0.7,
        ),
        (
            "apb",
            &["cnn.block=[convolution, activation, pool, batch_norm]"],
            0.7,
        ),
        (
            "pba",
            &["cnn.block=[convolution, pool, batch_norm, activation]"],
            0.7,
        ),
        ("bap", &generated, 0.05),
    ] {
        let setup = setup(overrides, noise);
        let found = setup.predict_batch(&batch, BatchNormMode::Query);
        for task in 0..3 {
            // Learned weights, which all tasks share, have no axis of tasks.
            let of_task = |weights: &Tensor, shared: usize| match weights.dim() {
                dimensions if dimensions == shared => weights.shallow_clone(),
                _ => weights.get(task),
            };
            let layers = found.theta.layers.iter().map(|(weights, _)| {
                let (gamma, beta) = &weights.batch_norm;
                [(&weights.kernel, 4), (gamma, 1), (beta, 1)]
                    .map(|(weights, shared)| of_task(weights, shared))
            });
            let layers: Vec<_> = layers.collect();
            for (images, features) in [
                (&batch.support, &found.support_features),
                (&batch.query, &found.query_features),
            ] {
                let expected = plain_features(&images.get(task), &layers, block);
                let difference = largest_difference(&features.get(task), &expected);
                assert!(
                    difference < 1e-3,
                    "{overrides:?}, task {task}: {difference}"
                );
            }
        }
    }
}

/// Appendix A: W_c is the mean of the class's layer-normed features up to a positive scale of its own.
#[test]
fn gradient_step_initialization_generates_class_means() {
    for (heads, dim, fraction, shot) in [(1, 32, 1.0, 1), (2, 32, 1.0, 5), (3, 20, 0.5, 3)] {
        let set = [
            // Features are then the flat ones alone.
            "generator.image_embedding=0".to_owned(),
            format!("generator.heads={heads}"),
            format!("generator.label_dim={dim}"),
            format!("generator.value_fraction={fraction}"),
        ];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let setup = setup(&set, 0.0);
        let prediction = setup.predict(&episodes(1, shot, 4), BatchNormMode::Support);
        let features = prediction.support_features.get(0);
        let width = features.size()[1];
        let normed = features.layer_norm([width], None::<Tensor>, None::<Tensor>, 1e-6, false);
        // Support samples come class by class.
        let means = normed
            .view([5, shot as i64, width])
            .mean_dim(1, false, Kind::Float);
        let weight = prediction.theta.logits.weight.get(0);
        let cosine = Tensor::cosine_similarity(&weight, &means, 1, 1e-12);
        let least = cosine.min().double_value(&[]);
        assert!(least > 0.99, "heads {heads}: cosine {least}");
    }
}

#[test]
fn gradient_step_initialization_classifies_like_the_nearest_prototype() {
    let setup = setup(&["generator.image_embedding=0"], 0.0);
    let (mut agree, mut generated, mut nearest) = (0.0, 0.0, 0.0);
    let episodes = episodes(20, 1, 10);
    for episode in &episodes {
        let prediction = setup.predict(std::slice::from_ref(episode), BatchNormMode::Support);
        let prototypes = prediction.support_features.get(0);
        let prototypes = prototypes.layer_norm([8], None::<Tensor>, None::<Tensor>, 1e-6, false);
        let theta = &prediction.theta.logits;
        let scale = theta.weight.get(0).norm() / prototypes.norm();
        let bias = theta.bias.get(0);
        let spread = (theta.weight.get(0) / scale - &prototypes)
            .abs()
            .max()
            .double_value(&[]);
        assert!(
            spread < 0.1,
            "weights are the prototypes up to one scale at one shot: {spread}"
        );
        assert!(bias.abs().max().double_value(&[]) < 0.05);
        let labels = Tensor::from_slice(&episode.query.labels);
        let accuracy = |scores: &Tensor| {
            let right = scores
                .argmax(-1, false)
                .eq_tensor(&labels)
                .to_kind(Kind::Float);
            right.mean(Kind::Float).double_value(&[])
        };
        let features = prediction.query_features.get(0);
        // ‖e − p‖² with all ‖p‖ alike: the nearest has the largest product.
        let distances = (features.unsqueeze(1) - prototypes.unsqueeze(0)).square();
        let near = -distances.sum_dim_intlist(2, false, Kind::Float);
        let answers = prediction.logits.get(0);
        let same = answers.argmax(-1, false).eq_tensor(&near.argmax(-1, false));
        agree += same
            .to_kind(Kind::Float)
            .mean(Kind::Float)
            .double_value(&[]);
        generated += accuracy(&answers);
        nearest += accuracy(&near);
    }
    let count = episodes.len() as f64;
    assert!(agree / count > 0.97, "agree on {}", agree / count);
    assert!((generated - nearest).abs() / count < 0.02);
    assert!(
        generated / count > 0.3,
        "far above the 0.2 of chance: {}",
        generated / count
    );
}

/// The generated change of learned kernels starts small: the start is near that of a model that generates only logits.
#[test]
fn a_learned_base_starts_near_the_model_that_generates_logits_only() {
    let episode = episodes(1, 1, 10);
    let with = ["generator.generates=all", "generator.learned_base=true"];
    let from_paper = [&PAPER[..], &with].concat();
    let predicted =
        |overrides: &[&str]| setup(overrides, 0.0).predict(&episode, BatchNormMode::Support);
    for (with, without) in [(&with[..], &[][..]), (&from_paper, &PAPER)] {
        let (all, logits) = (predicted(with), predicted(without));
        for ((changed, _), (learned, _)) in all.theta.layers.iter().zip(&logits.theta.layers) {
            let change = (&changed.kernel - &learned.kernel).norm() / learned.kernel.norm();
            let change = change.double_value(&[]);
            assert!(change > 0.01 && change < 0.3, "{change}");
        }
        assert!(all.theta.variation.is_some() && logits.theta.variation.is_none());
    }
}
