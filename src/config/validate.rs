//! What types cannot say: ranges and things that must fit together.

use std::ops::RangeInclusive;

use super::experiment::{Experiment, Initialization};
use super::model_options::{GeneratorKind, LogitsFeatures};
use super::train_options::ScheduleKind;
use crate::model::allocation::Allocation;
use crate::model::architecture::BlockOperation;

/// All faults, `path: value: expected …`.
pub(super) fn faults(experiment: &Experiment) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let Experiment {
        episode,
        cnn,
        generator,
        train,
        validation,
        ..
    } = experiment;
    faults.within("episode.way", episode.way, 2..=10_000);
    faults.within("episode.shot", episode.shot, 1..=10_000);
    faults.within("episode.unlabeled", episode.unlabeled, 0..=10_000);
    faults.within("episode.distractors", episode.distractors, 0..=10_000);
    faults.unless(
        episode.distractors == 0 || episode.unlabeled > 0,
        "episode.distractors",
        episode.distractors,
        "0, for `episode.unlabeled` is 0 and distractor classes give unlabelled images only",
    );
    faults.within("episode.query", episode.query, 1..=10_000);
    faults.within(
        "episode.evaluation_query",
        episode.evaluation_query,
        1..=10_000,
    );
    let jitter = &episode.jitter;
    for (path, value, most) in [
        ("episode.jitter.rotation", jitter.rotation, 180.0),
        ("episode.jitter.scale", jitter.scale, 4.0),
        ("episode.jitter.shear", jitter.shear, 4.0),
        ("episode.jitter.shift", jitter.shift, 1.0),
    ] {
        let right = (0.0..=most).contains(&value);
        faults.unless(right, path, value, &format!("0 to {most}"));
    }
    faults.within("cnn.channels", cnn.channels, 1..=4_096);
    faults.within("cnn.layers", cnn.layers, 1..=64);
    faults.within("cnn.stride", cnn.stride, 1..=64);
    let size = cnn.kernel_size;
    let odd = size % 2 == 1 && size < 64;
    faults.unless(odd, "cnn.kernel_size", size, "an odd number below 64");
    let block = &cnn.block;
    let once = block
        .iter()
        .enumerate()
        .all(|(index, one)| !block[..index].contains(one));
    let right = block.first() == Some(&BlockOperation::Convolution)
        && block.contains(&BlockOperation::BatchNorm)
        && once;
    let names = serde_json::to_string(block).unwrap_or_default();
    let order = "convolution first, batch_norm, and activation and pool at most once";
    faults.unless(right, "cnn.block", names, order);
    faults.within("generator.label_dim", generator.label_dim, 2..=4_096);
    faults.within("generator.layers", generator.layers, 1..=64);
    faults.within("generator.heads", generator.heads, 1..=256);
    let image = generator.image_embedding;
    faults.within("generator.image_embedding", image, 0..=4096);
    let activation = generator.activation_embedding.unwrap_or(1);
    faults.within("generator.activation_embedding", activation, 0..=4096);
    for (path, fraction) in [
        ("generator.query_key_fraction", generator.query_key_fraction),
        ("generator.value_fraction", generator.value_fraction),
    ] {
        faults.unless(
            fraction > 0.0 && fraction <= 16.0,
            path,
            fraction,
            "more than 0, at most 16",
        );
    }
    let inner = generator.inner_fraction;
    faults.unless(
        (0.0..=16.0).contains(&inner),
        "generator.inner_fraction",
        inner,
        "0 to 16",
    );
    for (path, probability) in [
        ("generator.dropout", generator.dropout),
        ("generator.feature_dropout", generator.feature_dropout),
    ] {
        let right = (0.0..1.0).contains(&probability);
        faults.unless(right, path, probability, "0 or more, less than 1");
    }
    faults.0.extend(generation_faults(experiment));
    let prepared = experiment.initialization == Initialization::GradientStep;
    faults.unless(
        !prepared || generator.kind == GeneratorKind::Encoder,
        "generator.kind",
        "other than encoder",
        "encoder, for `initialization: gradient_step` prepares its self-attention",
    );
    faults.unless(
        !prepared || generator.logits_features != LogitsFeatures::Embedded,
        "generator.logits_features",
        "embedded",
        "flat or both, for `initialization: gradient_step` averages the flattened activations",
    );
    faults.least("train.steps", train.steps, 1);
    faults.within("train.tasks_per_step", train.tasks_per_step, 1..=4_096);
    faults.positive("train.learning_rate", train.learning_rate);
    let rate = train.decay_rate;
    faults.unless(
        rate > 0.0 && rate <= 1.0,
        "train.decay_rate",
        rate,
        "more than 0, at most 1",
    );
    faults.least("train.decay_steps", train.decay_steps, 1);
    let warmup = train.warmup_steps;
    let fits = train.schedule != ScheduleKind::Cosine || warmup < train.steps;
    faults.unless(
        fits,
        "train.warmup_steps",
        warmup,
        &format!("fewer than train.steps ({})", train.steps),
    );
    faults.positive("train.clip_norm", train.clip_norm.unwrap_or(1.0));
    faults.not_negative("train.weight_decay", train.weight_decay);
    let beta2 = train.beta2;
    let right = (0.0..1.0).contains(&beta2);
    faults.unless(right, "train.beta2", beta2, "0 or more, less than 1");
    faults.not_negative("train.l2", train.l2);
    faults.not_negative("train.weight_variation", train.weight_variation);
    let smoothing = train.label_smoothing;
    let right = (0.0..1.0).contains(&smoothing);
    faults.unless(
        right,
        "train.label_smoothing",
        smoothing,
        "0 or more, less than 1",
    );
    for (path, probability) in [
        ("train.masking.unlabeled", train.masking.unlabeled),
        ("train.masking.labeled", train.masking.labeled),
    ] {
        let right = (0.0..=1.0).contains(&probability);
        faults.unless(right, path, probability, "a probability, 0 to 1");
    }
    faults.unless(
        train.masking.unlabeled == 0.0 || episode.unlabeled > 0,
        "train.masking.unlabeled",
        train.masking.unlabeled,
        "0, for `episode.unlabeled` is 0",
    );
    faults.least("train.log_every", train.log_every, 1);
    faults.least("train.checkpoint_every", train.checkpoint_every, 1);
    faults.least("validation.every", validation.every, 1);
    faults.least("validation.episodes", validation.episodes, 2);
    faults.0
}

/// What must fit together where convolutions are generated.
fn generation_faults(experiment: &Experiment) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let (cnn, generator) = (&experiment.cnn, &experiment.generator);
    let (reach, layers) = (generator.generates.reach(), cnn.layers);
    let all = format!("at most cnn.layers ({layers}) convolutions");
    faults.unless(
        reach <= layers,
        "generator.generates",
        &generator.generates,
        &all,
    );
    let some = (0..layers).any(|layer| generator.generates.convolution(layer, layers));
    let spatial = generator.allocation == Allocation::Spatial;
    let nothing = "false, for `generator.generates` names no convolution";
    let base = generator.learned_base;
    faults.unless(some || !base, "generator.learned_base", base, nothing);
    for (path, set) in [
        ("generator.generate_bias", generator.generate_bias),
        (
            "generator.generate_batch_norm",
            generator.generate_batch_norm,
        ),
    ] {
        faults.unless(some || !set, path, set, nothing);
        let no_channels = "false, for `allocation: spatial` has no slice an output channel";
        faults.unless(!spatial || !set, path, set, no_channels);
    }
    // Normalisation takes a constant added to its input away again.
    let adjacent = cnn.block.get(1) == Some(&BlockOperation::BatchNorm);
    faults.unless(
        !(generator.generate_bias && adjacent),
        "generator.generate_bias",
        true,
        "false, for batch_norm follows the convolution in `cnn.block` and takes any bias away",
    );
    let blind = generator.image_embedding == 0 && generator.activation_embedding == Some(0);
    faults.unless(
        !blind || (!some && generator.logits_features != LogitsFeatures::Embedded),
        "generator.activation_embedding",
        0,
        "more than 0, for `generator.image_embedding` is 0 too: generators would see labels only",
    );
    let variation = experiment.train.weight_variation;
    faults.unless(
        variation == 0.0 || generator.learned_base,
        "train.weight_variation",
        variation,
        "0, for `generator.learned_base` is false",
    );
    faults.0
}

struct Faults(Vec<String>);

impl Faults {
    fn unless(&mut self, right: bool, path: &str, value: impl std::fmt::Display, expected: &str) {
        if !right {
            self.0.push(format!("{path}: {value}: expected {expected}"));
        }
    }

    fn least<T: PartialOrd + std::fmt::Display>(&mut self, path: &str, value: T, least: T) {
        let right = value >= least;
        self.unless(right, path, value, &format!("at least {least}"));
    }

    /// The upper ends are far beyond use; they keep products of sizes from overflowing.
    fn within(&mut self, path: &str, value: usize, range: RangeInclusive<usize>) {
        let expected = format!("{} to {}", range.start(), range.end());
        self.unless(range.contains(&value), path, value, &expected);
    }

    fn positive(&mut self, path: &str, value: f64) {
        self.unless(
            value.is_finite() && value > 0.0,
            path,
            value,
            "a number more than 0",
        );
    }

    fn not_negative(&mut self, path: &str, value: f64) {
        self.unless(value.is_finite() && value >= 0.0, path, value, "0 or more");
    }
}
