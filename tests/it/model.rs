//! Properties of the model: what may depend on what.

use crate::common::{Setup, VARIANTS, episode, experiment, farthest, setup};
use hypertransformer::base::compute::{Compute, DeviceChoice};
use hypertransformer::episode::episode::Episode;
use hypertransformer::model::batch::EpisodeBatch;
use hypertransformer::model::generator::slices::logits_from_slices;
use hypertransformer::model::hypertransformer::Theta;
use hypertransformer::model::parameters::leaf;
use hypertransformer::model::pass::Hooks;
use hypertransformer::settings::cnn::BatchNormMode;
use hypertransformer::train::gradient::{Objective, Prepared, step_gradient};
use hypertransformer::train::optimizer::Optimizer;
use tch::{Device, Kind, Tensor};

/// The same episode with all queries but the first as negatives.
fn other_queries(episode: &Episode) -> Episode {
    let mut other = episode.clone();
    for mut image in other.query.images.outer_iter_mut().skip(1) {
        image.mapv_inplace(|pixel| 255 - pixel);
    }
    other
}

/// Told apart by shape and name, apart from how parameters are registered.
#[test]
fn weight_decay_shrinks_exactly_the_matrices_of_every_variant() {
    for overrides in VARIANTS {
        let decay = ["train.optimizer=adamw", "train.weight_decay=0.5"];
        let config = experiment(&[overrides, &decay[..]].concat()).train;
        let setup = setup(overrides, 0.05);
        let layout = setup.model.layout();
        let mut phi = setup.phi.copy();
        let mut optimizer = Optimizer::new(&config, layout, &phi);
        for _ in 0..2 {
            optimizer.step(&mut phi, &setup.phi.zeros_like(), 0.1);
        }
        for spec in layout.specs() {
            let embedding = [".labels", ".placeholders"];
            let matrix =
                spec.shape.len() > 1 && !embedding.iter().any(|part| spec.name.ends_with(part));
            let before = setup.named(&setup.phi, &spec.name);
            let expected = if matrix {
                &before * (0.95 * 0.95)
            } else {
                before
            };
            let far = farthest(&setup.named(&phi, &spec.name), &expected);
            assert!(far < 1e-6, "{overrides:?}: {}: {far}", spec.name);
        }
    }
}

#[test]
fn a_querys_logits_do_not_move_with_other_queries_unless_batch_norm_is_query() {
    let setup = setup(&[], 0.05);
    let first = episode(1, 4);
    let other = other_queries(&first);
    for (mode, moves) in [
        (BatchNormMode::Support, false),
        (BatchNormMode::Running, false),
        (BatchNormMode::Query, true),
    ] {
        let logits = |episode: &Episode| {
            setup
                .predict(std::slice::from_ref(episode), mode)
                .logits
                .get(0)
                .get(0)
        };
        let moved = farthest(&logits(&first), &logits(&other));
        assert_eq!(moved > 1e-3, moves, "{mode}: moved by {moved}");
    }
}

#[test]
fn theta_does_not_depend_on_the_order_of_the_support_samples() {
    let setup = setup(&[], 0.05);
    let first = episode(3, 2);
    let mut turned = first.clone();
    turned.support.images.invert_axis(ndarray::Axis(0));
    turned.support.labels.reverse();
    let theta = |episode| {
        setup
            .predict(&[episode], BatchNormMode::Support)
            .theta
            .logits
            .to_slices()
    };
    assert!(farthest(&theta(first), &theta(turned)) < 1e-5);
}

#[test]
fn tasks_in_one_batch_answer_as_each_alone() {
    let folder = tempfile::tempdir().unwrap();
    let sampler = crate::common::sampler(&crate::common::small_pack(folder.path()), (5, 2, 3));
    let episodes = [sampler.episode(0), sampler.episode(1), sampler.episode(2)];
    let setup = setup(&[], 0.05);
    for mode in [
        BatchNormMode::Support,
        BatchNormMode::Query,
        BatchNormMode::Running,
    ] {
        let together = setup.predict(&episodes, mode).logits;
        for (task, episode) in episodes.iter().enumerate() {
            let alone = setup.predict(std::slice::from_ref(episode), mode).logits;
            assert!(
                farthest(&together.get(task as i64), &alone.get(0)) < 1e-4,
                "{mode}"
            );
        }
    }
}

#[test]
fn both_readings_of_the_block_order_agree_with_plain_operations() {
    // Convolution, normalisation by the batch, ReLU, pooling, as the words say; γ of both signs.
    for (block, listed) in [
        ("[convolution, batch_norm, activation, pool]", "bap"),
        ("[convolution, activation, pool, batch_norm]", "apb"),
        ("[convolution, pool, batch_norm, activation]", "pba"),
    ] {
        let set = format!("cnn.block={block}");
        let setup = setup(&[&set], 0.7);
        let episode = episode(2, 3);
        let batch = EpisodeBatch::new(std::slice::from_ref(&episode), Device::Cpu);
        let found = setup
            .predict(&[episode], BatchNormMode::Query)
            .support_features;
        let named = |name: &str| setup.named(&setup.phi, name);
        let mut values = batch.support.flatten(0, 1);
        for layer in 1..=4 {
            let name = |part: &str| format!("cnn.layer{layer}.{part}");
            let kernel = named(&name("kernel"));
            values = values.conv2d(&kernel, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
            for operation in listed.chars() {
                values = match operation {
                    'a' => values.relu(),
                    'p' => values.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
                    _ => values.batch_norm(
                        Some(named(&name("batch_norm.weight"))),
                        Some(named(&name("batch_norm.bias"))),
                        None::<Tensor>,
                        None::<Tensor>,
                        true,
                        0.1,
                        1e-3,
                        false,
                    ),
                };
            }
        }
        let expected = values.flatten(1, -1);
        assert!(farthest(&found.get(0), &expected) < 1e-3, "{block}");
    }
}

/// Appendix A: W_c is the mean of the class's layer-normed features up to a positive scale of its own.
#[test]
fn gradient_step_initialisation_generates_class_means() {
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
        let episode = episode(shot, 4);
        let prediction = setup.predict(std::slice::from_ref(&episode), BatchNormMode::Support);
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
fn gradient_step_initialisation_classifies_like_the_nearest_prototype() {
    let folder = tempfile::tempdir().unwrap();
    let sampler = crate::common::sampler(&crate::common::small_pack(folder.path()), (5, 1, 10));
    let setup = setup(&["generator.image_embedding=0"], 0.0);
    let (mut agree, mut generated, mut nearest, episodes) = (0.0, 0.0, 0.0, 20);
    for index in 0..episodes {
        let episode = sampler.episode(index);
        let prediction = setup.predict(std::slice::from_ref(&episode), BatchNormMode::Support);
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
    let count = episodes as f64;
    assert!(agree / count > 0.97, "agree on {}", agree / count);
    assert!((generated - nearest).abs() / count < 0.02);
    assert!(
        generated / count > 0.3,
        "far above the 0.2 of chance: {}",
        generated / count
    );
}

#[test]
fn slices_become_weights_and_slices_again() {
    let slices = Tensor::arange(2 * 5 * 9, (Kind::Float, Device::Cpu)).view([2, 5, 9]);
    let weights = logits_from_slices(&slices);
    assert_eq!(weights.weight.size(), [2, 5, 8]);
    assert_eq!(weights.to_slices(), slices);
    // One query by hand: Σ w + b.
    let logits = weights.forward(&Tensor::ones([2, 1, 8], (Kind::Float, Device::Cpu)));
    assert_eq!(logits.double_value(&[0, 0, 0]), (0..9).sum::<i32>() as f64);
}

/// Σ over layers of Σ generated² / Σ learned², of one task.
fn variation(setup: &Setup, phi: &Tensor, theta: &Theta) -> Tensor {
    let learned = |layer: usize| {
        let name = format!("cnn.layer{}.kernel", layer + 1);
        let specs = setup.model.layout().specs();
        specs
            .iter()
            .any(|spec| spec.name == name)
            .then(|| setup.named(phi, &name))
    };
    let square = |values: &Tensor| values.square().sum(Kind::Double);
    let layers = theta.layers.iter().enumerate();
    layers
        .filter_map(|(layer, (weights, _))| {
            let learned = learned(layer)?;
            let generated = weights.kernel.view_as(&learned) - &learned;
            Some(square(&generated) / square(&learned))
        })
        .fold(Tensor::from(0.0), |sum, one| sum + one)
}

/// What makes training fast, several tasks in one batch and the first block in one pass, changes no gradient: the same
/// in double precision, task by task, is left to libtorch alone.
#[test]
fn a_steps_gradient_is_that_of_plain_operations_in_double_precision() {
    let folder = tempfile::tempdir().unwrap();
    let sampler = crate::common::sampler(&crate::common::small_pack(folder.path()), (5, 2, 6));
    let episodes: Vec<Episode> = (0..5).map(|index| sampler.episode(index)).collect();
    let compute = Compute::new(DeviceChoice::Cpu, Some(2)).unwrap();
    for overrides in [
        &["cnn.channels=8"][..],
        &["batch_norm=query", "cnn.channels=5"],
        &["generator.generates=all", "train.l2=0.001"],
        &[
            "generator.generates=all",
            "generator.learned_base=true",
            "train.label_smoothing=0.2",
            "train.weight_variation=3",
        ],
        &[
            "cnn.block=[convolution, batch_norm, pool, activation]",
            "cnn.padding=valid",
            "cnn.layers=2",
        ],
        &[
            "generator.generates=all",
            "generator.learned_base=true",
            "batch_norm=running",
        ],
        // The loss then does not ask what the support pass made of the images.
        &[
            "initialization=paper",
            "generator.logits_features=embedded",
            "generator.activation_embedding=0",
            "batch_norm=query",
        ],
    ] {
        let overrides: Vec<&str> = [overrides, &["train.tasks_together=3"]].concat();
        let experiment = crate::common::experiment(&overrides);
        let setup = setup(&overrides, 0.05);
        let objective = Objective::at(&experiment, 0);
        let step = step_gradient(
            &compute,
            &setup.model,
            &setup.phi,
            &setup.buffers,
            &Prepared::new(episodes.to_vec(), compute.device),
            objective,
        );
        let phi = leaf(&crate::common::double(&setup.phi));
        let views = setup
            .model
            .views(&phi, &crate::common::double(&setup.buffers));
        let losses = episodes.iter().map(|episode| {
            let batch = crate::common::double_batch(std::slice::from_ref(episode));
            let mode = experiment.batch_norm;
            let found = setup
                .model
                .forward(&views, &batch, mode, true, Hooks::default());
            let likelihoods = found.logits.get(0).log_softmax(-1, Kind::Double);
            let right = likelihoods.gather(-1, &batch.query_labels.get(0).unsqueeze(-1), false);
            let smoothing = experiment.train.label_smoothing;
            let mean = |values: Tensor| values.mean(Kind::Double);
            let loss = mean(right) * (smoothing - 1.0) - mean(likelihoods) * smoothing;
            loss + found.theta.squared_norm() * experiment.train.l2
                + variation(&setup, &phi, &found.theta) * experiment.train.weight_variation
        });
        let loss = losses.reduce(|sum, loss| sum + loss).unwrap() / episodes.len() as f64;
        let expected = Tensor::run_backward(&[&loss], &[&phi], false, false).swap_remove(0);
        assert!(
            (loss.double_value(&[]) - step.loss).abs() < 1e-5,
            "{overrides:?}"
        );
        // Rounding now and then tips a ReLU or a pooling over to its other side: the whole vector is compared.
        let difference = (expected.copy() - step.gradient).norm() / expected.norm();
        let difference = difference.double_value(&[]);
        assert!(difference < 1e-3, "{overrides:?}: {difference:e}");
    }
}
