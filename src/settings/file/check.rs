//! What types cannot say: ranges and things that must fit together.
use crate::settings::cnn::BlockOperation;
use crate::settings::experiment::Experiment;
use crate::settings::file::check_generator::generator_faults;
use crate::settings::file::faults::Faults;
use crate::settings::train::ScheduleKind;

/// All faults, `path: value: expected …`.
pub(crate) fn faults(experiment: &Experiment) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let Experiment {
        episode,
        cnn,
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
    let photo = episode.photo.unwrap_or_default();
    for (path, value, range) in [
        ("episode.photo.hue", photo.hue, 0.0..=0.5),
        ("episode.photo.brightness", photo.brightness, 0.0..=1.0),
        ("episode.photo.contrast", photo.contrast, 0.0..=1.0),
        ("episode.photo.crop", photo.crop, 0.05..=1.0),
    ] {
        let expected = format!("{} to {}", range.start(), range.end());
        faults.unless(range.contains(&value), path, value, &expected);
    }
    faults.within("cnn.channels", cnn.channels, 1..=4_096);
    faults.within("cnn.layers", cnn.layers, 0..=64);
    faults.within("cnn.stride", cnn.stride, 1..=64);
    let pooled = cnn.pooled_layers.unwrap_or(0);
    faults.within("cnn.pooled_layers", pooled, 0..=cnn.layers);
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
    faults.0.extend(generator_faults(experiment));
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
    let head = &train.real_class_head;
    faults.not_negative("train.real_class_head.weight", head.weight);
    faults.unless(
        head.weight == 0.0 || experiment.generator.image_embedding > 0,
        "train.real_class_head.weight",
        head.weight,
        "0, for `generator.image_embedding` is 0",
    );
    faults.unless(
        head.weight == 0.0 || head.classes > 0,
        "train.real_class_head.classes",
        head.classes,
        "the number of training classes",
    );
    faults.within("train.real_class_head.classes", head.classes, 0..=1_000_000);
    faults.unless(
        train.warmup_head_steps == 0 || cnn.layers > 1,
        "train.warmup_head_steps",
        train.warmup_head_steps,
        &format!(
            "0, for there is a head after each convolution but the last, and `cnn.layers` is {}",
            cnn.layers
        ),
    );
    faults.unless(
        train.warmup_head_steps < train.steps,
        "train.warmup_head_steps",
        train.warmup_head_steps,
        &format!(
            "fewer than train.steps ({}), for the logits layer is trained after them",
            train.steps
        ),
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
    faults.within("validation.episodes", validation.episodes, 2..=10_000_000);
    faults.0
}
