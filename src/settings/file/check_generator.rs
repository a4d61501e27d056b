//! Validates the section `generator`: the section as a whole, the settings for all layers, and those of single layers.

use crate::settings::cnn::{BlockOperation, CnnOptions};
use crate::settings::experiment::Experiment;
use crate::settings::file::faults::Faults;
use crate::settings::generator::{
    Allocation, GeneratorKind, GeneratorOptions, Initialization, LogitsFeatures,
};

/// Returns all faults. Single layers inherit the settings for all layers, so they are checked only if those are valid.
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

/// The number of convolutions, or the largest valid one if it is larger, which is reported elsewhere.
fn convolutions(experiment: &Experiment) -> usize {
    experiment.cnn.layers.min(CnnOptions::MOST_LAYERS)
}

/// Whether any convolution is generated.
fn generates_convolutions(experiment: &Experiment) -> bool {
    let layers = convolutions(experiment);
    (0..layers).any(|layer| experiment.generator.generates.convolution(layer, layers))
}

/// Faults of settings that concern all layers.
fn section_faults(experiment: &Experiment) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let generator = &experiment.generator;
    let (required, layers) = (
        generator.generates.required_convolutions(),
        convolutions(experiment),
    );
    let expected = format!("at most cnn.layers ({layers}) convolutions");
    faults.require(
        required <= layers,
        "generator.generates",
        &generator.generates,
        &expected,
    );
    let changed = generator.per_layer.len();
    faults.within("generator.per_layer", changed, 0..=layers + 1);
    let image = generator.image_embedding;
    faults.within("generator.image_embedding", image, 0..=4096);
    let prepared = experiment.initialization == Initialization::GradientStep;
    faults.require(
        !prepared || generator.logits_features != LogitsFeatures::Embedded,
        "generator.logits_features",
        "embedded",
        "flat or both, because `initialization: gradient_step` averages the flattened activations",
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
    faults.require(
        !gradient || based.iter().all(|&based| based),
        "generator.support_gradient",
        gradient,
        "false, because the gradient is taken at learned kernels and a generated convolution lacks `learned_base: true`",
    );
    let based = based.contains(&true);
    let variation = experiment.train.weight_variation;
    faults.require(
        variation == 0.0 || based,
        "train.weight_variation",
        variation,
        "0, because no generated convolution has `learned_base: true`",
    );
    faults.0
}

/// Faults of the settings for all layers or of a single layer; `section` is their path in the file.
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
        let valid = fraction > 0.0 && fraction <= 16.0;
        faults.require(valid, &at(key), fraction, "greater than 0 and at most 16");
    }
    let inner = generator.inner_fraction;
    let valid = (0.0..=16.0).contains(&inner);
    faults.require(valid, &at("inner_fraction"), inner, "0 to 16");
    for (key, probability) in [
        ("dropout", generator.dropout),
        ("feature_dropout", generator.feature_dropout),
    ] {
        let valid = (0.0..1.0).contains(&probability);
        faults.require(valid, &at(key), probability, "0 or more and less than 1");
    }
    let prepared = experiment.initialization == Initialization::GradientStep;
    faults.require(
        !prepared || generator.kind == GeneratorKind::Encoder,
        &at("kind"),
        "other than encoder",
        "encoder, because `initialization: gradient_step` sets its self-attention",
    );
    faults.require(
        !prepared || generator.attention.is_average(),
        &at("attention"),
        serde_yaml::to_string(&generator.attention)
            .unwrap_or_default()
            .trim(),
        "softmax, because `initialization: gradient_step` averages with it",
    );
    let skipped = generator.skip_last_nonlinearity;
    faults.require(
        inner > 0.0 || !skipped,
        &at("skip_last_nonlinearity"),
        skipped,
        "false, because `inner_fraction: 0` removes the inner layer",
    );
    faults
        .0
        .extend(convolution_faults(experiment, section, generator));
    faults.0
}

/// Faults of settings that concern generated convolutions.
fn convolution_faults(
    experiment: &Experiment,
    section: &str,
    generator: &GeneratorOptions,
) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let at = |key: &str| format!("{section}.{key}");
    let any = generates_convolutions(experiment);
    let spatial = generator.allocation == Allocation::Spatial;
    let expected = "false, because `generator.generates` selects no convolution";
    for (key, set) in [
        ("learned_base", generator.learned_base),
        ("support_gradient", generator.support_gradient),
    ] {
        faults.require(any || !set, &at(key), set, expected);
    }
    for (key, set) in [
        ("generate_bias", generator.generate_bias),
        ("generate_batch_norm", generator.generate_batch_norm),
    ] {
        faults.require(any || !set, &at(key), set, expected);
        let no_channels =
            "false, because `allocation: spatial` has no weight slice per output channel";
        faults.require(!spatial || !set, &at(key), set, no_channels);
    }
    // Batch-norm subtracts any constant that was added to its input, also after pooling.
    let mut after = experiment.cnn.block.iter().skip(1);
    let adjacent = after.find(|&&operation| operation != BlockOperation::Pool)
        == Some(&BlockOperation::BatchNorm);
    faults.require(
        !(generator.generate_bias && adjacent),
        &at("generate_bias"),
        true,
        "false, because batch_norm follows the convolution in `cnn.block` and cancels any bias",
    );
    let blind = generator.image_embedding == 0 && generator.activation_embedding == Some(0);
    faults.require(
        !blind || (!any && generator.logits_features != LogitsFeatures::Embedded),
        &at("activation_embedding"),
        0,
        "greater than 0, because `generator.image_embedding` is 0 too: generators would see only labels",
    );
    faults.0
}

/// Keys that do not apply to the logits layer.
const CONVOLUTION_KEYS: [&str; 5] = [
    "allocation",
    "learned_base",
    "generate_bias",
    "generate_batch_norm",
    "support_gradient",
];

/// Faults in `generator.per_layer`.
fn single_layer_faults(experiment: &Experiment) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let (generator, layers) = (&experiment.generator, experiment.cnn.layers);
    for (name, changes) in &generator.per_layer {
        let section = format!("generator.per_layer.{name}");
        let number = name
            .parse::<usize>()
            .ok()
            .filter(|number| (1..=layers).contains(number) && number.to_string() == *name);
        let generated = name == GeneratorOptions::LOGITS
            || number.is_some_and(|number| generator.generates.convolution(number - 1, layers));
        let expected = "`logits` or the number of a generated convolution, from 1";
        faults.require(generated, &section, name, expected);
        for key in CONVOLUTION_KEYS
            .iter()
            .filter(|_| name == GeneratorOptions::LOGITS)
        {
            if let Some(value) = changes.get(*key) {
                let value = serde_yaml::to_string(value).unwrap_or_default();
                let expected = "no value, because the key applies to convolutions only";
                faults.require(false, &format!("{section}.{key}"), value.trim(), expected);
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
