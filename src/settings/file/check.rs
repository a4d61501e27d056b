//! Validates ranges and combinations of values, which types cannot express.

use crate::settings::cnn::{BlockOperation, CnnOptions};
use crate::settings::episode::EpisodeConfig;
use crate::settings::experiment::Experiment;
use crate::settings::file::check_generator::generator_faults;
use crate::settings::file::faults::Faults;

/// Returns all faults, each in the form `path: value: expected …`.
pub(crate) fn faults(experiment: &Experiment) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let validation = &experiment.validation;
    check_episode(&experiment.episode, &mut faults);
    check_cnn(&experiment.cnn, &mut faults);
    faults.0.extend(generator_faults(experiment));
    check_train(experiment, &mut faults);
    faults.at_least("validation.every", validation.every, 1);
    faults.within("validation.episodes", validation.episodes, 2..=10_000_000);
    if faults.0.is_empty() {
        faults.0.extend(phase_faults(experiment));
    }
    faults.0
}

/// Faults of later phases, each of which inherits the settings of the experiment.
fn phase_faults(experiment: &Experiment) -> Vec<String> {
    let phases = match experiment.phases() {
        Ok(phases) => phases,
        Err(fault) => return vec![fault],
    };
    let mut found = Vec::new();
    for phase in phases.iter().skip(1) {
        let path = format!("train.phases[{}]", phase.number);
        let mut own = phase.experiment.clone();
        // The heads are trained in the first phase only.
        own.train.warmup_head_steps = 0;
        found.extend(faults(&own).into_iter().map(
            |fault| match fault.strip_prefix("train.steps: ") {
                Some(rest) => format!("{path}.steps: {rest}"),
                None => format!("{path}.settings.{fault}"),
            },
        ));
    }
    found
}

fn check_episode(episode: &EpisodeConfig, faults: &mut Faults) {
    faults.within("episode.way", episode.way, 2..=10_000);
    faults.within("episode.shot", episode.shot, 1..=10_000);
    faults.within("episode.unlabeled", episode.unlabeled, 0..=10_000);
    faults.within("episode.distractors", episode.distractors, 0..=10_000);
    faults.require(
        episode.distractors == 0 || episode.unlabeled > 0,
        "episode.distractors",
        episode.distractors,
        "0, because distractor classes contribute only unlabelled images and `episode.unlabeled` is 0",
    );
    faults.within("episode.query", episode.query, 1..=10_000);
    faults.within(
        "episode.evaluation_query",
        episode.evaluation_query,
        1..=10_000,
    );
    let jitter = &episode.jitter;
    for (path, value, largest) in [
        ("episode.jitter.rotation", jitter.rotation, 180.0),
        ("episode.jitter.scale", jitter.scale, 4.0),
        ("episode.jitter.shear", jitter.shear, 4.0),
        ("episode.jitter.shift", jitter.shift, 1.0),
    ] {
        let valid = (0.0..=largest).contains(&value);
        faults.require(valid, path, value, &format!("0 to {largest}"));
    }
    let photo = episode.photo.unwrap_or_default();
    for (path, value, range) in [
        ("episode.photo.hue", photo.hue, 0.0..=0.5),
        ("episode.photo.brightness", photo.brightness, 0.0..=1.0),
        ("episode.photo.contrast", photo.contrast, 0.0..=1.0),
        ("episode.photo.crop", photo.crop, 0.05..=1.0),
    ] {
        let expected = format!("{} to {}", range.start(), range.end());
        faults.require(range.contains(&value), path, value, &expected);
    }
}

fn check_cnn(cnn: &CnnOptions, faults: &mut Faults) {
    faults.within("cnn.channels", cnn.channels, 1..=4_096);
    faults.within("cnn.layers", cnn.layers, 0..=CnnOptions::MOST_LAYERS);
    faults.within("cnn.stride", cnn.stride, 1..=64);
    let pooled = cnn.pooled_layers.unwrap_or(0);
    faults.within("cnn.pooled_layers", pooled, 0..=cnn.layers);
    let size = cnn.kernel_size;
    let odd = size % 2 == 1 && size < 64;
    faults.require(odd, "cnn.kernel_size", size, "an odd number below 64");
    let block = &cnn.block;
    let once = block
        .iter()
        .enumerate()
        .all(|(index, one)| !block[..index].contains(one));
    let valid = block.first() == Some(&BlockOperation::Convolution)
        && block.contains(&BlockOperation::BatchNorm)
        && once;
    let names = serde_json::to_string(block).unwrap_or_default();
    let order = "convolution first, batch_norm once, activation and pool at most once";
    faults.require(valid, "cnn.block", names, order);
}

/// Checks the section `train`, parts of which depend on other sections.
fn check_train(experiment: &Experiment, faults: &mut Faults) {
    let Experiment {
        episode,
        cnn,
        train,
        ..
    } = experiment;
    let steps = usize::try_from(train.steps).unwrap_or(usize::MAX);
    faults.within("train.steps", steps, 1..=1_000_000_000_000);
    faults.within("train.tasks_per_step", train.tasks_per_step, 1..=4_096);
    faults.within("train.tasks_together", train.tasks_together(), 1..=4_096);
    faults.positive("train.learning_rate", train.learning_rate);
    faults.positive("train.generator_rate", train.generator_rate);
    if let Some(rate) = train.convolution_generator_rate {
        faults.positive("train.convolution_generator_rate", rate);
    }
    let rate = train.decay_rate;
    faults.require(
        rate > 0.0 && rate <= 1.0,
        "train.decay_rate",
        rate,
        "greater than 0 and at most 1",
    );
    faults.at_least("train.decay_steps", train.decay_steps, 1);
    faults.positive("train.clip_norm", train.clip_norm.unwrap_or(1.0));
    faults.non_negative("train.weight_decay", train.weight_decay);
    let beta2 = train.beta2;
    let valid = (0.0..1.0).contains(&beta2);
    faults.require(valid, "train.beta2", beta2, "0 or more and less than 1");
    faults.non_negative("train.l2", train.l2);
    faults.non_negative("train.weight_variation", train.weight_variation);
    let smoothing = train.label_smoothing;
    let valid = (0.0..1.0).contains(&smoothing);
    faults.require(
        valid,
        "train.label_smoothing",
        smoothing,
        "0 or more and less than 1",
    );
    let head = &train.real_class_head;
    faults.non_negative("train.real_class_head.weight", head.weight);
    faults.require(
        head.weight == 0.0 || experiment.generator.image_embedding > 0,
        "train.real_class_head.weight",
        head.weight,
        "0, because `generator.image_embedding` is 0",
    );
    faults.require(
        head.weight == 0.0 || head.classes > 0,
        "train.real_class_head.classes",
        head.classes,
        "the number of training classes",
    );
    faults.within("train.real_class_head.classes", head.classes, 0..=1_000_000);
    faults.require(
        train.warmup_head_steps == 0 || cnn.layers > 1,
        "train.warmup_head_steps",
        train.warmup_head_steps,
        &format!(
            "0, because heads follow each convolution but the last, and `cnn.layers` is {}",
            cnn.layers
        ),
    );
    faults.require(
        train.warmup_head_steps == 0 || train.warmup_head_steps < train.steps,
        "train.warmup_head_steps",
        train.warmup_head_steps,
        &format!(
            "fewer than train.steps ({}), because the logits layer is trained afterwards",
            train.steps
        ),
    );
    for (path, probability) in [
        ("train.masking.unlabeled", train.masking.unlabeled),
        ("train.masking.labeled", train.masking.labeled),
    ] {
        let valid = (0.0..=1.0).contains(&probability);
        faults.require(valid, path, probability, "a probability, 0 to 1");
    }
    faults.require(
        train.masking.unlabeled == 0.0 || episode.unlabeled > 0,
        "train.masking.unlabeled",
        train.masking.unlabeled,
        "0, because `episode.unlabeled` is 0",
    );
    faults.at_least("train.log_every", train.log_every, 1);
    faults.at_least("train.checkpoint_every", train.checkpoint_every, 1);
    faults.non_negative("train.checkpoint_minutes", train.checkpoint_minutes);
}
