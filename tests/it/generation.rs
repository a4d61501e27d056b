//! Every variant of CNN and generator: what must hold whatever is generated, and how.

use std::sync::Arc;

use crate::common::{
    PAPER, Setup, VARIANTS, double_batch, experiment, farthest, hide_in_double, of_variant,
    sampler, setup, small_pack,
};
use hypertransformer::base::compute::{Compute, DeviceChoice};
use hypertransformer::base::random::{Purpose, Random};
use hypertransformer::episode::episode::{Episode, EpisodeDraw, EpisodeShape};
use hypertransformer::episode::sampler::EpisodeSampler;
use hypertransformer::model::batch::EpisodeBatch;
use hypertransformer::model::generator::slices::ConvolutionSlices;
use hypertransformer::model::parameters::leaf;
use hypertransformer::model::pass::{Dropout, Hooks};
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use hypertransformer::settings::cnn::BatchNormMode;
use hypertransformer::settings::generator::Allocation;
use hypertransformer::train::gradient::{Objective, Prepared, step_gradient};
use tch::{Device, Kind, Tensor};

/// Logits and the gradient of their mean cross-entropy, in double precision.
fn gradient(setup: &Setup, episodes: &[Episode], mode: BatchNormMode) -> (Tensor, Tensor) {
    gradient_of_batch(setup, &double_batch(episodes), mode, Hooks::default())
}

/// The same of a batch, in its precision, with what goes along.
fn gradient_of_batch(
    setup: &Setup,
    batch: &EpisodeBatch,
    mode: BatchNormMode,
    hooks: Hooks,
) -> (Tensor, Tensor) {
    let kind = batch.query.kind();
    let phi = leaf(&setup.phi.to_kind(kind));
    let views = setup.model.views(&phi, &setup.buffers.to_kind(kind));
    let logits = setup.model.forward(&views, batch, mode, true, hooks).logits;
    let loss = logits
        .flatten(0, 1)
        .log_softmax(-1, None)
        .nll_loss(&batch.query_labels.flatten(0, 1));
    let gradient = Tensor::run_backward(&[&loss], &[&phi], false, false).swap_remove(0);
    (logits.detach(), gradient)
}

const MODES: [BatchNormMode; 3] = [
    BatchNormMode::Support,
    BatchNormMode::Query,
    BatchNormMode::Running,
];

/// With all that makes it fast. Both in single precision: in double a ReLU may tip over to its other side.
#[test]
fn a_steps_gradient_is_that_of_the_plain_way() {
    let compute = Compute::new(DeviceChoice::Cpu, Some(1)).unwrap();
    for variant in VARIANTS {
        let (setup, episodes) = of_variant(variant);
        for batch_norm in MODES {
            let batch = EpisodeBatch::new(&episodes, Device::Cpu);
            let (_, expected) = gradient_of_batch(&setup, &batch, batch_norm, Hooks::default());
            for together in [1, 3] {
                let objective = Objective {
                    batch_norm,
                    together,
                    ..Objective::at(&experiment(variant), 0)
                };
                let prepared = Prepared::new(episodes.clone(), compute.device);
                let (phi, buffers) = (&setup.phi, &setup.buffers);
                let step =
                    step_gradient(&compute, &setup.model, phi, buffers, &prepared, objective);
                let far = (expected.copy() - step.gradient).norm() / expected.norm();
                let far = far.double_value(&[]);
                let what = format!("{variant:?}, {batch_norm}, {together} at once");
                assert!(far < 1e-3, "{what}: gradients differ by {far:e}");
            }
        }
    }
}

#[test]
fn tasks_at_once_give_the_logits_and_gradients_of_one_by_one() {
    for variant in VARIANTS {
        let (setup, episodes) = of_variant(variant);
        for mode in MODES {
            assert_as_alone(&format!("{variant:?}, {mode}"), |tasks| {
                let chosen: Vec<Episode> = tasks.iter().map(|&at| episodes[at].clone()).collect();
                gradient(&setup, &chosen, mode)
            });
        }
    }
}

/// Whether three tasks at once have the logits of each alone, and the mean of their gradients.
fn assert_as_alone(what: &str, of_tasks: impl Fn(&[usize]) -> (Tensor, Tensor)) {
    let (logits, together) = of_tasks(&[0, 1, 2]);
    let mut sum = together.zeros_like();
    for task in 0..3 {
        let (alone, one) = of_tasks(&[task]);
        let far = farthest(&logits.get(task as i64), &alone.get(0));
        assert!(far < 1e-9, "{what}: logits differ by {far}");
        sum += one / 3.0;
    }
    let far = farthest(&sum, &together) / sum.abs().max().double_value(&[]);
    assert!(far < 1e-9, "{what}: gradients differ by {far}");
}

#[test]
fn each_task_hides_its_own_samples_and_drops_its_own_features() {
    for variant in [
        VARIANTS[0],
        VARIANTS[2],
        VARIANTS[5],
        VARIANTS[9],
        VARIANTS[28],
    ] {
        let dropping = ["generator.dropout=0.2", "generator.feature_dropout=0.2"];
        let (setup, episodes) = of_variant(&[variant, &dropping].concat());
        // Of the first task none is hidden, of the second one sample, of the third three.
        let hidden: [&[usize]; 3] = [&[], &[4], &[0, 3, 7]];
        assert_as_alone(&format!("{variant:?}"), |tasks| {
            let drawn = |&task: &usize| Random::new(0, Purpose::Dropout, task as u64);
            let dropout = Dropout::new(tasks.iter().map(drawn).collect());
            let hooks = Hooks {
                dropout: Some(&dropout),
                ..Hooks::default()
            };
            let chosen: Vec<Episode> = tasks.iter().map(|&task| episodes[task].clone()).collect();
            let seen = |task: &usize| {
                let of_sample = |sample| f32::from(!hidden[*task].contains(&sample));
                (0..10).map(of_sample).collect::<Vec<f32>>()
            };
            let mut batch = double_batch(&chosen);
            hide_in_double(&mut batch, &tasks.iter().map(seen).collect::<Vec<_>>());
            gradient_of_batch(&setup, &batch, BatchNormMode::Support, hooks)
        });
    }
}

/// Parameters that a softmax or a normalisation right after takes away again, so that no gradient can reach them.
fn without_gradient(setup: &Setup, variant: &[&str]) -> Vec<String> {
    let names: Vec<String> = setup
        .model
        .layout()
        .specs()
        .iter()
        .map(|spec| spec.name.clone())
        .collect();
    let taken_away = |name: &&String| {
        // The same for all keys of a query.
        name.ends_with("attention.key.bias") && !variant.contains(&"generator.attention=sigmoid")
    };
    // The last norm's bias is the same for the rows of all classes.
    let last = names
        .iter()
        .filter(|name| name.starts_with("generator.logits.") && name.ends_with("_norm.bias"))
        .rfind(|name| !name.contains("feature_norm"));
    names
        .iter()
        .filter(taken_away)
        .chain(last)
        .cloned()
        .collect()
}

#[test]
fn gradients_reach_every_parameter() {
    for variant in VARIANTS {
        let (setup, episodes) = of_variant(variant);
        let (_, gradient) = gradient(&setup, &episodes, BatchNormMode::Support);
        let longest = gradient.abs().max().double_value(&[]);
        let exceptions = without_gradient(&setup, variant);
        for spec in setup.model.layout().specs() {
            let name = &spec.name;
            let found = setup.named(&gradient, name).abs().max().double_value(&[]);
            let reached = found / longest > 1e-6;
            assert_eq!(
                reached,
                !exceptions.contains(name),
                "{variant:?}: {name}: {found}"
            );
        }
    }
}

#[test]
fn theta_does_not_depend_on_the_order_of_the_support_samples() {
    for variant in VARIANTS {
        let (setup, episodes) = of_variant(variant);
        let mut turned = episodes[0].clone();
        turned.support.images.invert_axis(ndarray::Axis(0));
        turned.support.labels.reverse();
        let logits = |episode| setup.predict(&[episode], BatchNormMode::Support).logits;
        let far = farthest(&logits(episodes[0].clone()), &logits(turned));
        assert!(far < 1e-4, "{variant:?}: {far}");
    }
}

#[test]
fn slices_become_kernels_and_slices_again() {
    for (allocation, bias, batch_norm) in [
        (Allocation::Output, false, false),
        (Allocation::Output, true, false),
        (Allocation::Output, true, true),
        (Allocation::Spatial, false, false),
    ] {
        let layout = ConvolutionSlices {
            allocation,
            outputs: 4,
            inputs: 2,
            kernel_size: 3,
            bias,
            batch_norm,
        };
        let shape = [2, layout.count() as i64, layout.length() as i64];
        let count = shape.iter().product::<i64>();
        let slices = Tensor::arange(count, (Kind::Float, Device::Cpu)).view(shape);
        let weights = layout.weights(&slices);
        assert_eq!(weights.kernel.size(), [2, 4, 2, 3, 3]);
        assert_eq!(layout.slices(&weights), slices, "{allocation:?}");
    }
}

/// The words of §4.1: output allocation gives each output channel a slice, spatial each place of the kernel.
#[test]
fn a_slice_holds_one_output_channel_or_one_place() {
    let changed = |allocation| {
        let layout = ConvolutionSlices {
            allocation,
            outputs: 4,
            inputs: 2,
            kernel_size: 3,
            bias: false,
            batch_norm: false,
        };
        let shape = [1, layout.count() as i64, layout.length() as i64];
        let slices = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let _ = slices.narrow(1, 1, 1).fill_(1.0);
        layout.weights(&slices).kernel.get(0)
    };
    let output = changed(Allocation::Output);
    assert_eq!(output.get(1).sum(Kind::Float).double_value(&[]), 18.0);
    assert_eq!(output.sum(Kind::Float).double_value(&[]), 18.0);
    let spatial = changed(Allocation::Spatial);
    let place = spatial.select(3, 1).select(2, 0);
    assert_eq!(place.sum(Kind::Float).double_value(&[]), 8.0);
    assert_eq!(spatial.sum(Kind::Float).double_value(&[]), 8.0);
}

/// Features of the queries from θ, task by task, in libtorch's plain operations.
#[test]
fn generated_convolutions_equal_plain_ones_with_the_same_kernels() {
    let overrides = [
        PAPER[0],
        "generator.generates=all",
        "generator.generate_batch_norm=true",
    ];
    let (setup, episodes) = of_variant(&overrides);
    let batch = EpisodeBatch::new(&episodes, Device::Cpu);
    let found = setup.predict_batch(&batch, BatchNormMode::Query);
    for task in 0..3i64 {
        let mut values = batch.query.get(task);
        for (weights, _) in &found.theta.layers {
            let kernel = weights.kernel.get(task);
            let (gamma, beta) = (
                weights.batch_norm.0.get(task),
                weights.batch_norm.1.get(task),
            );
            let none = || None::<Tensor>;
            values = values
                .conv2d(&kernel, none(), [1, 1], [1, 1], [1, 1], 1)
                .batch_norm(
                    Some(gamma),
                    Some(beta),
                    none(),
                    none(),
                    true,
                    0.1,
                    1e-3,
                    false,
                )
                .relu()
                .max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false);
        }
        let far = farthest(&found.query_features.get(task), &values.flatten(1, -1));
        assert!(far < 1e-4, "task {task}: {far}");
    }
}

#[test]
fn hidden_samples_change_nothing_and_classes_may_have_different_numbers_of_samples() {
    for variant in [VARIANTS[0], VARIANTS[2], VARIANTS[5], VARIANTS[9]] {
        let (setup, episodes) = of_variant(variant);
        let first = &episodes[0];
        // Of two shots a class, both are seen, or the first, or the second.
        let kept = [0, 1, 2, 5, 6, 7, 8];
        let seen: Vec<f32> = (0..10)
            .map(|sample| f32::from(kept.contains(&sample)))
            .collect();
        let logits = |episode: &Episode| {
            let mut batch = EpisodeBatch::new(std::slice::from_ref(episode), Device::Cpu);
            batch.hide(std::slice::from_ref(&seen));
            setup.predict_batch(&batch, BatchNormMode::Support).logits
        };
        let mut other = first.clone();
        for (mut image, seen) in other.support.images.outer_iter_mut().zip(&seen) {
            if *seen == 0.0 {
                image.mapv_inplace(|pixel| 255 - pixel);
            }
        }
        assert_eq!(logits(first), logits(&other), "{variant:?}: to the bit");
        // And as if they had never been there.
        let mut fewer = first.clone();
        fewer.support.images = first.support.images.select(ndarray::Axis(0), &kept);
        fewer.support.labels = kept.iter().map(|&at| first.support.labels[at]).collect();
        let alone = setup.predict(&[fewer], BatchNormMode::Support).logits;
        let far = farthest(&logits(first), &alone);
        assert!(far < 1e-4, "{variant:?}: {far}");
    }
}

#[test]
fn an_unlabelled_sample_carries_no_trace_of_its_class() {
    let folder = tempfile::tempdir().unwrap();
    let pack = Arc::new(Pack::open(&small_pack(folder.path())).unwrap());
    let shape = EpisodeShape {
        way: 5,
        shot: 1,
        unlabeled: 3,
        distractors: 2,
        query: 2,
    };
    let sampler =
        EpisodeSampler::new(pack, "default", Part::Train, shape, EpisodeDraw::PLAIN, 0).unwrap();
    let setup = setup(&["episode.unlabeled=3", "generator.generates=last 1"], 0.05);
    let plan = sampler.plan(0);
    let mut permuted = plan.clone();
    for sample in &mut permuted.support {
        if !sample.labeled {
            sample.slot = (sample.slot + 1) % 7;
        }
    }
    let logits = |plan| {
        let episode = sampler.episode_of_plan(0, plan);
        setup.predict(&[episode], BatchNormMode::Support).logits
    };
    assert_eq!(logits(&plan), logits(&permuted));
    // Nor does its place: over many episodes each place holds each slot about equally often.
    let mut slots = vec![0.0; 21];
    for index in 0..500 {
        let plan = sampler.plan(index);
        assert_eq!(
            plan.support.iter().filter(|sample| sample.labeled).count(),
            5
        );
        let unlabeled = plan.support.iter().filter(|sample| !sample.labeled);
        for (place, sample) in unlabeled.enumerate() {
            slots[place] += sample.slot as f64 / 500.0;
        }
    }
    assert!(
        slots.iter().all(|mean| (2.6..3.4).contains(mean)),
        "{slots:?}"
    );
}

#[test]
fn unlabelled_labelled_and_query_images_are_disjoint() {
    let folder = tempfile::tempdir().unwrap();
    let shape = EpisodeShape {
        way: 4,
        shot: 2,
        unlabeled: 5,
        distractors: 3,
        query: 6,
    };
    let pack = Arc::new(Pack::open(&small_pack(folder.path())).unwrap());
    let sampler =
        EpisodeSampler::new(pack, "default", Part::Train, shape, EpisodeDraw::PLAIN, 0).unwrap();
    for index in 0..50 {
        let plan = sampler.plan(index);
        let images: std::collections::HashSet<usize> = plan
            .support
            .iter()
            .chain(&plan.query)
            .map(|sample| sample.image)
            .collect();
        assert_eq!(images.len(), 4 * (2 + 5 + 6) + 3 * 5);
        assert_eq!(images.len(), shape.images());
        assert!(plan.query.iter().all(|sample| sample.slot < 4));
    }
}

/// A change to learned kernels that starts small leaves the start that of the logits layer alone.
#[test]
fn a_learned_base_starts_near_the_model_that_generates_logits_only() {
    let folder = tempfile::tempdir().unwrap();
    let episode = sampler(&small_pack(folder.path()), (5, 1, 10)).episode(0);
    let with = ["generator.generates=all", "generator.learned_base=true"];
    let of_the_paper = [&crate::common::PAPER[..], &with].concat();
    let predicted = |overrides: &[&str]| {
        let mode = BatchNormMode::Support;
        setup(overrides, 0.0).predict(std::slice::from_ref(&episode), mode)
    };
    for (with, without) in [(&with[..], &[][..]), (&of_the_paper, &crate::common::PAPER)] {
        let (all, logits) = (predicted(with), predicted(without));
        for ((changed, _), (learned, _)) in all.theta.layers.iter().zip(&logits.theta.layers) {
            let change = (&changed.kernel - &learned.kernel).norm() / learned.kernel.norm();
            let change = change.double_value(&[]);
            assert!(change > 0.01 && change < 0.3, "{change}");
        }
        assert!(all.theta.variation.is_some() && logits.theta.variation.is_none());
    }
}
