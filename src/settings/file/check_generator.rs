//! What is wrong with an experiment's generator section: as a whole, for all layers, and for single ones.
use crate::settings::cnn::BlockOperation;
use crate::settings::experiment::Experiment;
use crate::settings::file::faults::Faults;
use crate::settings::generator::{
    Allocation, AttentionKind, GeneratorKind, GeneratorOptions, Initialization, LogitsFeatures,
};

/// All faults; those of single layers only where the settings for all layers have none, which they inherit.
pub(crate) fn generator_faults(experiment: &Experiment) -> Vec<String> {
    let mut faults = section_faults(experiment);
    faults.extend(settings_faults(
        experiment,
        "generator",
        &experiment.generator,
    ));
    if faults.is_empty() {
        faults = single_layer_faults(experiment);
    }
    faults
}

/// Whether a convolution is generated.
fn generates_convolutions(experiment: &Experiment) -> bool {
    let layers = experiment.cnn.layers;
    (0..layers).any(|layer| experiment.generator.generates.convolution(layer, layers))
}

/// What concerns all layers together.
fn section_faults(experiment: &Experiment) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let generator = &experiment.generator;
    let (reach, layers) = (generator.generates.reach(), experiment.cnn.layers);
    let all = format!("at most cnn.layers ({layers}) convolutions");
    faults.unless(
        reach <= layers,
        "generator.generates",
        &generator.generates,
        &all,
    );
    let image = generator.image_embedding;
    faults.within("generator.image_embedding", image, 0..=4096);
    let prepared = experiment.initialization == Initialization::GradientStep;
    faults.unless(
        !prepared || generator.logits_features != LogitsFeatures::Embedded,
        "generator.logits_features",
        "embedded",
        "flat or both, for `initialization: gradient_step` averages the flattened activations",
    );
    let set = |key: &str, section: bool| {
        let generated = (0..layers).filter(|&layer| generator.generates.convolution(layer, layers));
        let of_layer = |layer: usize| {
            let own = generator.per_layer.get(&(layer + 1).to_string());
            own.and_then(|changes| changes.get(key)?.as_bool())
                .unwrap_or(section)
        };
        generated.map(of_layer).collect::<Vec<bool>>()
    };
    let based = set("learned_base", generator.learned_base);
    let gradient = set("support_gradient", generator.support_gradient).contains(&true);
    faults.unless(
        !gradient || based.iter().all(|&based| based),
        "generator.support_gradient",
        gradient,
        "false, for a generated convolution without `learned_base: true` leaves nothing to take a gradient at",
    );
    let based = based.contains(&true);
    let variation = experiment.train.weight_variation;
    faults.unless(
        variation == 0.0 || based,
        "train.weight_variation",
        variation,
        "0, for no generated convolution has `learned_base: true`",
    );
    faults.0
}

/// What a layer's settings must fulfil, of all layers or of a single one; `section` is where they stand.
fn settings_faults(
    experiment: &Experiment,
    section: &str,
    generator: &GeneratorOptions,
) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let at = |key: &str| format!("{section}.{key}");
    faults.within(&at("label_dim"), generator.label_dim, 2..=4_096);
    faults.within(&at("layers"), generator.layers, 1..=64);
    faults.within(&at("heads"), generator.heads, 1..=256);
    let activation = generator.activation_embedding.unwrap_or(1);
    faults.within(&at("activation_embedding"), activation, 0..=4096);
    for (key, fraction) in [
        ("query_key_fraction", generator.query_key_fraction),
        ("value_fraction", generator.value_fraction),
    ] {
        let right = fraction > 0.0 && fraction <= 16.0;
        faults.unless(right, &at(key), fraction, "more than 0, at most 16");
    }
    let inner = generator.inner_fraction;
    let right = (0.0..=16.0).contains(&inner);
    faults.unless(right, &at("inner_fraction"), inner, "0 to 16");
    for (key, probability) in [
        ("dropout", generator.dropout),
        ("feature_dropout", generator.feature_dropout),
    ] {
        let right = (0.0..1.0).contains(&probability);
        faults.unless(right, &at(key), probability, "0 or more, less than 1");
    }
    let prepared = experiment.initialization == Initialization::GradientStep;
    faults.unless(
        !prepared || generator.kind == GeneratorKind::Encoder,
        &at("kind"),
        "other than encoder",
        "encoder, for `initialization: gradient_step` prepares its self-attention",
    );
    faults.unless(
        !prepared || generator.attention == AttentionKind::Softmax,
        &at("attention"),
        "sigmoid",
        "softmax, for `initialization: gradient_step` averages by it",
    );
    let skipped = generator.skip_last_nonlinearity;
    faults.unless(
        inner > 0.0 || !skipped,
        &at("skip_last_nonlinearity"),
        skipped,
        "false, for `inner_fraction: 0` leaves no inner layer",
    );
    faults
        .0
        .extend(convolution_faults(experiment, section, generator));
    faults.0
}

/// What must fit together where convolutions are generated.
fn convolution_faults(
    experiment: &Experiment,
    section: &str,
    generator: &GeneratorOptions,
) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let at = |key: &str| format!("{section}.{key}");
    let some = generates_convolutions(experiment);
    let spatial = generator.allocation == Allocation::Spatial;
    let nothing = "false, for `generator.generates` names no convolution";
    for (key, set) in [
        ("learned_base", generator.learned_base),
        ("support_gradient", generator.support_gradient),
    ] {
        faults.unless(some || !set, &at(key), set, nothing);
    }
    for (key, set) in [
        ("generate_bias", generator.generate_bias),
        ("generate_batch_norm", generator.generate_batch_norm),
    ] {
        faults.unless(some || !set, &at(key), set, nothing);
        let no_channels = "false, for `allocation: spatial` has no slice an output channel";
        faults.unless(!spatial || !set, &at(key), set, no_channels);
    }
    // Normalisation takes a constant added to its input away again, also through pooling.
    let mut after = experiment.cnn.block.iter().skip(1);
    let adjacent = after.find(|&&operation| operation != BlockOperation::Pool)
        == Some(&BlockOperation::BatchNorm);
    faults.unless(
        !(generator.generate_bias && adjacent),
        &at("generate_bias"),
        true,
        "false, for batch_norm follows the convolution in `cnn.block` and takes any bias away",
    );
    let blind = generator.image_embedding == 0 && generator.activation_embedding == Some(0);
    faults.unless(
        !blind || (!some && generator.logits_features != LogitsFeatures::Embedded),
        &at("activation_embedding"),
        0,
        "more than 0, for `generator.image_embedding` is 0 too: generators would see labels only",
    );
    faults.0
}

/// What says nothing of the logits layer.
const OF_CONVOLUTIONS: [&str; 5] = [
    "allocation",
    "learned_base",
    "generate_bias",
    "generate_batch_norm",
    "support_gradient",
];

fn single_layer_faults(experiment: &Experiment) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let (generator, layers) = (&experiment.generator, experiment.cnn.layers);
    for (name, changes) in &generator.per_layer {
        let section = format!("generator.per_layer.{name}");
        let number = name
            .parse::<usize>()
            .ok()
            .filter(|number| (1..=layers).contains(number) && number.to_string() == *name);
        let generated = name == "logits"
            || number.is_some_and(|number| generator.generates.convolution(number - 1, layers));
        let expected = "`logits` or the number of a generated convolution, from 1";
        faults.unless(generated, &section, name, expected);
        for key in OF_CONVOLUTIONS.iter().filter(|_| name == "logits") {
            if let Some(value) = changes.get(*key) {
                let value = serde_yaml::to_string(value).unwrap_or_default();
                let nothing = "nothing, for it is a setting of convolutions";
                faults.unless(false, &format!("{section}.{key}"), value.trim(), nothing);
            }
        }
        match generator.changed(changes) {
            Ok(settings) if generated => {
                faults
                    .0
                    .extend(settings_faults(experiment, &section, &settings));
            }
            Ok(_) => {}
            Err(error) => faults.0.push(format!("{section}: {error}")),
        }
    }
    faults.0
}
