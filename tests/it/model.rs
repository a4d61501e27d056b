//! Properties of the model, of every variant where nothing else is said: what may depend on what, and that what makes
//! training fast changes no result.

use hypertransformer::base::random::{Purpose, Random};
use hypertransformer::episode::episode::{Episode, EpisodeDraw, EpisodeShape, Sample};
use hypertransformer::model::batch::EpisodeBatch;
use hypertransformer::model::hypertransformer::Theta;
use hypertransformer::model::parameters::leaf;
use hypertransformer::model::pass::{Dropout, Hooks, Mode};
use hypertransformer::settings::cnn::BatchNormMode;
use hypertransformer::train::gradient::Objective;
use hypertransformer::train::optimizer::Optimizer;
use tch::{Device, Kind, Tensor};

use crate::common::models::{
    MODES, Setup, cpu, double, double_batch, hide_in_double, largest_difference,
    relative_difference, setup,
};
use crate::common::variants::{VARIANTS, Variant, variant};
use crate::common::{episodes, experiment, glyph_sampler};

/// Tells matrices by shape and name, independent of how parameters are registered.
#[test]
fn weight_decay_shrinks_exactly_the_matrices() {
    for Variant { name, overrides } in &VARIANTS {
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
            let difference = largest_difference(&setup.named(&phi, &spec.name), &expected);
            assert!(difference < 1e-6, "{name}: {}: {difference}", spec.name);
        }
    }
}

/// The same episode with all queries but the first as negatives.
fn with_other_queries(episode: &Episode) -> Episode {
    let mut other = episode.clone();
    for mut image in other.query.images.outer_iter_mut().skip(1) {
        image.mapv_inplace(|pixel| 255 - pixel);
    }
    other
}

#[test]
fn logits_of_a_query_depend_on_other_queries_only_if_batch_norm_is_query() {
    let setup = setup(&[], 0.05);
    let first = episodes(1, 1, 4).swap_remove(0);
    let other = with_other_queries(&first);
    for mode in MODES {
        let logits = |episode: &Episode| {
            let episode = std::slice::from_ref(episode);
            setup.predict(episode, mode).logits.get(0).get(0)
        };
        let moved = largest_difference(&logits(&first), &logits(&other));
        let expected = mode == BatchNormMode::Query;
        assert_eq!(moved > 1e-3, expected, "{mode}: moved by {moved}");
    }
}

#[test]
fn theta_does_not_depend_on_the_order_of_the_support_samples() {
    for variant in &VARIANTS {
        let (setup, mut episodes) = variant.setup();
        let episode = episodes.swap_remove(0);
        let mut reversed = episode.clone();
        reversed.support.images.invert_axis(ndarray::Axis(0));
        reversed.support.labels.reverse();
        let [one, other] =
            [episode, reversed].map(|episode| setup.predict(&[episode], BatchNormMode::Support));
        let of_theta = largest_difference(
            &one.theta.logits.to_slices(),
            &other.theta.logits.to_slices(),
        );
        let of_logits = largest_difference(&one.logits, &other.logits);
        let name = variant.name;
        assert!(
            of_theta < 1e-4,
            "{name}: logits layers differ by {of_theta}"
        );
        assert!(of_logits < 1e-4, "{name}: logits differ by {of_logits}");
    }
}

/// Checks that three tasks in one batch have the logits of each task alone and the mean of their gradients, up to `limit`.
fn assert_as_one_by_one(what: &str, limit: f64, of_tasks: impl Fn(&[usize]) -> (Tensor, Tensor)) {
    let (logits, in_one_batch) = of_tasks(&[0, 1, 2]);
    let mut mean = in_one_batch.zeros_like();
    for task in 0..3 {
        let (alone, gradient) = of_tasks(&[task]);
        let difference = largest_difference(&logits.get(task as i64), &alone.get(0));
        assert!(difference < limit, "{what}: logits differ by {difference}");
        mean += gradient / 3.0;
    }
    let longest = mean.abs().max().double_value(&[]);
    let difference = largest_difference(&mean, &in_one_batch) / longest;
    assert!(
        difference < limit,
        "{what}: gradients differ by {difference}"
    );
}

/// Each variant with one kind of statistics in turn; `the_gradient_of_a_step_is_that_of_one_plain_pass` has all kinds for
/// each. With running statistics as in inference, which uses the moving averages.
#[test]
fn a_batch_of_tasks_gives_the_logits_and_gradients_of_one_task_at_a_time() {
    for (variant, mode) in VARIANTS.iter().zip(MODES.into_iter().cycle()) {
        let (setup, episodes) = variant.setup();
        // Moving averages far from the data amplify rounding errors between θ and the logits.
        let (pass, limit) = match mode {
            BatchNormMode::Running => (Mode::Infer, 1e-7),
            BatchNormMode::Support | BatchNormMode::Query => (Mode::Train, 1e-9),
        };
        assert_as_one_by_one(&format!("{}, {mode}", variant.name), limit, |tasks| {
            let chosen: Vec<Episode> = tasks.iter().map(|&at| episodes[at].clone()).collect();
            setup.gradient(&double_batch(&chosen), (mode, pass), Hooks::default())
        });
    }
}

#[test]
fn each_task_of_a_batch_hides_its_own_samples_and_drops_its_own_features() {
    for name in [
        "fast",
        "all-with-learned-base",
        "spatial",
        "separate",
        "support-gradient",
    ] {
        let dropout = ["generator.dropout=0.2", "generator.feature_dropout=0.2"];
        let (setup, episodes) = variant(name).setup_with(&dropout);
        // The first task hides none, the second one sample, the third three.
        let hidden: [&[usize]; 3] = [&[], &[4], &[0, 3, 7]];
        assert_as_one_by_one(name, 1e-9, |tasks| {
            let generator = |&task: &usize| Random::new(0, Purpose::Dropout, task as u64);
            let dropout = Dropout::new(tasks.iter().map(generator).collect());
            let hooks = Hooks {
                dropout: Some(&dropout),
                ..Hooks::default()
            };
            let chosen: Vec<Episode> = tasks.iter().map(|&task| episodes[task].clone()).collect();
            let seen = |task: &usize| {
                let sample_seen = |sample| f32::from(!hidden[*task].contains(&sample));
                (0..10).map(sample_seen).collect::<Vec<f32>>()
            };
            let mut batch = double_batch(&chosen);
            hide_in_double(&mut batch, &tasks.iter().map(seen).collect::<Vec<_>>());
            setup.gradient(&batch, (BatchNormMode::Support, Mode::Train), hooks)
        });
    }
}

#[test]
fn hidden_samples_change_nothing_and_classes_may_have_different_numbers_of_samples() {
    for name in ["fast", "all-with-learned-base", "spatial", "separate"] {
        let (setup, episodes) = variant(name).setup();
        let first = &episodes[0];
        // The first class keeps both of its samples, the second the first one, and so on.
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
        assert_eq!(logits(first), logits(&other), "{name}: bits differ");
        let mut fewer = first.clone();
        fewer.support.images = first.support.images.select(ndarray::Axis(0), &kept);
        fewer.support.labels = kept.iter().map(|&at| first.support.labels[at]).collect();
        let without = setup.predict(&[fewer], BatchNormMode::Support).logits;
        let difference = largest_difference(&logits(first), &without);
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

#[test]
fn an_unlabelled_sample_carries_no_trace_of_its_class() {
    let shape = EpisodeShape {
        way: 5,
        shot: 1,
        unlabeled: 3,
        distractors: 2,
        query: 2,
    };
    let sampler = glyph_sampler(shape, EpisodeDraw::PLAIN);
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
    // Nor does its place tell: over many episodes each place holds each slot about equally often.
    let mut slots = vec![0.0; 21];
    for index in 0..500 {
        let plan = sampler.plan(index);
        let (labeled, unlabeled): (Vec<&Sample>, Vec<&Sample>) =
            plan.support.iter().partition(|sample| sample.labeled);
        assert_eq!(labeled.len(), 5);
        for (place, sample) in unlabeled.iter().enumerate() {
            slots[place] += sample.slot as f64 / 500.0;
        }
    }
    let near_the_middle = |mean: &f64| (2.6..3.4).contains(mean);
    assert!(slots.iter().all(near_the_middle), "{slots:?}");
}

/// Parameters that a softmax or a normalisation right after them cancels, so that no gradient reaches them.
fn without_gradient(setup: &Setup, variant: &Variant) -> Vec<String> {
    let specs = setup.model.layout().specs();
    let names = specs.iter().map(|spec| &spec.name);
    let softmax = !variant
        .overrides
        .iter()
        .any(|setting| setting.starts_with("generator.attention="));
    // A key's bias adds the same number to the scores of all keys of a query.
    let keys = names
        .clone()
        .filter(|name| name.ends_with("attention.key.bias") && softmax);
    // The bias of the last norm is shared by the rows of all classes.
    let last = names
        .clone()
        .filter(|name| name.starts_with("generator.logits.") && name.ends_with("_norm.bias"))
        .rfind(|name| !name.contains("feature_norm"));
    keys.chain(last).cloned().collect()
}

#[test]
fn gradients_reach_every_parameter() {
    for variant in &VARIANTS {
        let (setup, episodes) = variant.setup();
        let mode = (BatchNormMode::Support, Mode::Train);
        let (_, gradient) = setup.gradient(&double_batch(&episodes), mode, Hooks::default());
        let longest = gradient.abs().max().double_value(&[]);
        let exceptions = without_gradient(&setup, variant);
        for spec in setup.model.layout().specs() {
            let (parameter, variant) = (&spec.name, variant.name);
            let part = setup.named(&gradient, parameter);
            let found = part.abs().max().double_value(&[]);
            assert_eq!(
                found / longest > 1e-6,
                !exceptions.contains(parameter),
                "{variant}: {parameter}: {found}"
            );
        }
    }
}

/// Three tasks as a batch of two and one of one. Both sides in single precision: in double a ReLU may tip over.
#[test]
fn the_gradient_of_a_step_is_that_of_one_plain_pass() {
    let compute = cpu(1);
    for variant in &VARIANTS {
        let (setup, episodes) = variant.setup();
        for batch_norm in MODES {
            let batch = EpisodeBatch::new(&episodes, Device::Cpu);
            let (_, expected) = setup.gradient(&batch, (batch_norm, Mode::Train), Hooks::default());
            let objective = Objective {
                batch_norm,
                batch_size: 2,
                ..Objective::at(&experiment(variant.overrides), 0)
            };
            let step = setup.step(&compute, episodes.clone(), objective);
            let difference = relative_difference(&expected, &step.gradient);
            let name = variant.name;
            assert!(difference < 1e-3, "{name}, {batch_norm}: {difference:e}");
        }
    }
}

/// Σ over layers of Σ generated² / Σ learned² of one task.
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

/// Against plain operations in double precision, one task at a time, for settings that no variant has.
#[test]
fn the_loss_and_the_gradient_of_a_step_have_every_penalty() {
    let episodes = episodes(5, 2, 6);
    let compute = cpu(2);
    for overrides in [
        &["batch_norm=query", "cnn.channels=5"][..],
        &[
            "generator.generates=last 2",
            "generator.learned_base=true",
            "train.l2=0.001",
            "train.label_smoothing=0.2",
            "train.weight_variation=3",
        ],
        &[
            "cnn.block=[convolution, batch_norm, pool, activation]",
            "cnn.padding=valid",
            "cnn.layers=2",
        ],
        // The loss then does not read the features of the support images.
        &[
            "initialization=paper",
            "generator.logits_features=embedded",
            "generator.activation_embedding=0",
            "batch_norm=query",
        ],
    ] {
        let overrides: Vec<&str> = [overrides, &["train.tasks_together=3"]].concat();
        let experiment = experiment(&overrides);
        let (train, mode) = (&experiment.train, (experiment.batch_norm, Mode::Train));
        let setup = setup(&overrides, 0.05);
        let step = setup.step(&compute, episodes.clone(), Objective::at(&experiment, 0));
        let phi = leaf(&double(&setup.phi));
        let losses = episodes.iter().map(|episode| {
            let batch = double_batch(std::slice::from_ref(episode));
            let found = setup.forward(&phi, &batch, mode, Hooks::default());
            let likelihoods = found.logits.get(0).log_softmax(-1, Kind::Double);
            let right = likelihoods.gather(-1, &batch.query_labels.get(0).unsqueeze(-1), false);
            let smoothing = train.label_smoothing;
            let mean = |values: Tensor| values.mean(Kind::Double);
            let loss = mean(right) * (smoothing - 1.0) - mean(likelihoods) * smoothing;
            loss + found.theta.squared_norm() * train.l2
                + variation(&setup, &phi, &found.theta) * train.weight_variation
        });
        let loss = losses.reduce(|sum, loss| sum + loss).unwrap() / episodes.len() as f64;
        let expected = Tensor::run_backward(&[&loss], &[&phi], false, false).swap_remove(0);
        let of_loss = (loss.double_value(&[]) - step.loss).abs();
        assert!(of_loss < 1e-5, "{overrides:?}: losses differ by {of_loss}");
        // Rounding now and then tips a ReLU or a pooling over to its other side: the whole vector is compared.
        let difference = relative_difference(&expected, &step.gradient);
        assert!(difference < 1e-3, "{overrides:?}: {difference:e}");
    }
}
