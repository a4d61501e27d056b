//! The experiment file.

use std::path::Path;

use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::{Loaded, load, load_with, to_yaml};
use hypertransformer::settings::generator::GeneratorOptions;

fn file(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn error(text: &str, overrides: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    load(&file(folder.path(), "x.yaml", text), &overrides)
        .unwrap_err()
        .to_string()
}

#[test]
fn no_keys_are_the_default_and_the_resolved_copy_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = load(&file(folder.path(), "x.yaml", "{}"), &[]).unwrap();
    assert_eq!(experiment, Experiment::default());
    let copy = file(folder.path(), "copy.yaml", &to_yaml(&experiment));
    assert_eq!(load(&copy, &[]).unwrap(), experiment);
}

#[test]
fn all_errors_are_reported_at_once_with_their_keys() {
    let error = error(
        "train:\n  stpes: 3\n  learning_rate: fast\nepisode: {way: 5, shots: 1}\nsteps: 4\n",
        &["cnn.channels=-1"],
    );
    for part in [
        "train.stpes: unknown key, did you mean `train.steps`?",
        "train.learning_rate: fast",
        "episode.shots: unknown key, did you mean `episode.shot`?",
        "did you mean `train.steps`?",
        "cnn.channels: -1",
        "5 faults",
    ] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
}

#[test]
fn values_out_of_range_are_refused_with_the_expected_range() {
    let error = error(
        "episode: {way: 1}\ntrain: {learning_rate: -1, clip_norm: 0}\n",
        &[],
    );
    assert!(error.contains("episode.way: 1: expected 2 to"), "{error}");
    assert!(
        error.contains("train.learning_rate: -1: expected"),
        "{error}"
    );
    assert!(error.contains("train.clip_norm: 0: expected"), "{error}");
}

#[test]
fn gradient_step_without_flat_features_is_refused() {
    let error = error("initialization: gradient_step\n", &[]);
    assert!(error.contains("generator.logits_features"), "{error}");
}

#[test]
fn settings_that_undo_gradient_step_or_have_no_effect_are_refused() {
    let error = error(
        "initialization: gradient_step\ngenerator: {logits_features: flat, attention: sigmoid, inner_fraction: 0, skip_last_nonlinearity: true, support_gradient: true}\ntrain: {convolution_generator_rate: 0}\n",
        &[],
    );
    for part in [
        "generator.support_gradient: true: expected false, because `generator.generates` selects no convolution",
        "generator.attention: sigmoid: expected softmax",
        "generator.skip_last_nonlinearity: true: expected false",
        "train.convolution_generator_rate: 0: expected",
    ] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
}

#[test]
fn settings_that_train_or_change_nothing_are_refused() {
    let error = error(
        "cnn: {pooled_layers: 9}\ngenerator: {generates: all, learned_base: true, per_layer: {1: {learned_base: false}, 2: {learned_base: false}, 3: {learned_base: false}, 4: {learned_base: false}}}\ntrain: {steps: 100, warmup_head_steps: 100, weight_variation: 1}\n",
        &["generator.per_layer=null"],
    );
    for part in [
        "cnn.pooled_layers: 9: expected 0 to 4",
        "train.warmup_head_steps: 100: expected fewer than train.steps (100)",
        "train.weight_variation: 1: expected 0",
        "generator.per_layer: null: expected keys below it",
    ] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
}

#[test]
fn overrides_win_over_the_file_and_the_file_over_what_it_extends() {
    let folder = tempfile::tempdir().unwrap();
    file(
        folder.path(),
        "base.yaml",
        "train: {steps: 1, seed: 1, log_every: 1}\n",
    );
    let path = file(
        folder.path(),
        "x.yaml",
        "extends: base.yaml\ntrain: {seed: 2, log_every: 2}\n",
    );
    let experiment = load(&path, &["train.log_every=3".to_owned()]).unwrap();
    let train = experiment.train;
    assert_eq!((train.steps, train.seed, train.log_every), (1, 2, 3));
}

#[test]
fn files_that_extend_each_other_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a.yaml", "extends: b.yaml\n");
    file(folder.path(), "b.yaml", "extends: a.yaml\n");
    let error = load(&path, &[]).unwrap_err().to_string();
    assert!(
        error.contains("extends itself") && error.contains("b.yaml"),
        "{error}"
    );
}

#[test]
fn an_override_without_a_value_is_refused_with_the_expected_form() {
    assert!(error("{}", &["train.steps"]).contains("expected KEY=VALUE"));
}

#[test]
fn an_empty_section_keeps_the_values_of_the_extended_file() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "base.yaml", "train: {steps: 7}\n");
    let path = file(folder.path(), "x.yaml", "extends: base.yaml\ntrain:\n");
    assert_eq!(load(&path, &[]).unwrap().train.steps, 7);
}

#[test]
fn wrong_keys_do_not_hide_values_out_of_range() {
    let error = error("train: {stpes: 3}\nepisode: {way: 1}\n", &[]);
    assert!(error.contains("2 faults"), "{error}");
    assert!(error.contains("did you mean `train.steps`?"), "{error}");
    assert!(error.contains("episode.way: 1: expected 2 to"), "{error}");
}

#[test]
fn the_error_for_a_missing_base_names_the_file_that_extends_it() {
    let error = error("extends: nowhere.yaml\n", &[]);
    for part in ["extends: ", "nowhere.yaml", "No such file", "x.yaml)"] {
        assert!(error.contains(part), "{part} is not in:\n{error}");
    }
}

#[test]
fn an_endless_override_path_is_refused() {
    let path = format!("train.steps{}=1", ".x".repeat(60_000));
    assert!(error("{}", &[&path]).contains("expected KEY=VALUE"));
}

#[test]
fn unreasonably_large_sizes_are_refused() {
    let error = error(
        "{}",
        &[
            "episode.way=18446744073709551615",
            "cnn.channels=9999999",
            "cnn.kernel_size=99",
            "generator.heads=9999999",
            "train.tasks_per_step=9999999",
        ],
    );
    assert!(error.contains("5 faults"), "{error}");
}

#[test]
fn settings_of_single_layers_replace_those_of_all_layers() {
    let folder = tempfile::tempdir().unwrap();
    let text = "generator:\n  generates: all\n  heads: 3\n  per_layer:\n    2: {heads: 1}\n    logits: {layers: 5}\n";
    let experiment = load(&file(folder.path(), "x.yaml", text), &[]).unwrap();
    let heads_and_layers = |settings: GeneratorOptions| (settings.heads, settings.layers);
    let generator = &experiment.generator;
    assert_eq!(heads_and_layers(generator.of_convolution(0)), (3, 3));
    assert_eq!(heads_and_layers(generator.of_convolution(1)), (1, 3));
    assert_eq!(heads_and_layers(generator.of_logits()), (3, 5));
    let copy = file(folder.path(), "copy.yaml", &to_yaml(&experiment));
    assert_eq!(load(&copy, &[]).unwrap(), experiment);
}

#[test]
fn errors_in_the_settings_of_single_layers_name_the_layer() {
    let text = "generator:\n  generates: last 1\n";
    for (set, fault) in [
        (
            "generator.per_layer.3.heads=1",
            "generator.per_layer.3: 3: expected `logits` or the number of a generated",
        ),
        (
            "generator.per_layer.04.heads=1",
            "generator.per_layer.04: 04: expected `logits` or the number of a generated",
        ),
        (
            "generator.per_layer.4.haeds=1",
            "generator.per_layer.4.haeds: unknown key, did you mean `generator.per_layer.4.heads`?",
        ),
        (
            "generator.per_layer.4.image_embedding=0",
            "generator.per_layer.4.image_embedding: unknown key",
        ),
        (
            "generator.per_layer.4.heads=many",
            "generator.per_layer.4.heads: many: invalid type",
        ),
        (
            "generator.per_layer.logits.heads=0",
            "generator.per_layer.logits.heads: 0: expected 1 to 256",
        ),
        (
            "generator.per_layer.4.support_gradient=true",
            "generator.support_gradient: true: expected false, because the gradient is taken at learned kernels",
        ),
        (
            "generator={generates: all, learned_base: true, per_layer: {2: {support_gradient: true}, 3: {learned_base: false}}}",
            "generator.support_gradient: true: expected false, because the gradient is taken at learned kernels",
        ),
    ] {
        let found = error(text, &[set]);
        assert!(found.contains(fault), "{set}: {found}");
    }
}

#[test]
fn weights_that_would_be_generated_without_effect_are_refused() {
    let bias = |more: &str| {
        error(
            &format!("generator: {{generates: all, generate_bias: true, {more}}}\n"),
            &["cnn.block=[convolution, pool, batch_norm, activation]"],
        )
    };
    let message = bias("allocation: output");
    assert!(message.contains("cancels any bias"), "{message}");
    let message = error(
        "generator: {per_layer: {logits: {allocation: spatial}}}\n",
        &[],
    );
    assert!(
        message.contains("per_layer.logits.allocation: spatial: expected no value"),
        "{message}"
    );
    let message = bias("allocation: spatial");
    assert!(
        message.contains("has no weight slice per output channel"),
        "{message}"
    );
}

#[test]
fn a_mark_at_the_beginning_is_skipped_and_other_encodings_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    let error_of = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path, &[]).unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    };
    std::fs::write(&path, b"\xef\xbb\xbftrain: {steps: 7}\r\n").unwrap();
    assert_eq!(load(&path, &[]).unwrap().train.steps, 7);
    let wide: Vec<u8> = "train: {}".bytes().flat_map(|byte| [byte, 0]).collect();
    let error = error_of(&[b"\xff\xfe", &wide[..]].concat());
    assert!(
        error.contains("text in UTF-16\nhint: save it as UTF-8"),
        "{error}"
    );
    let error = error_of(b"train: {} # \xe9t\xe9");
    assert!(
        error.contains("not text in UTF-8\nhint: save it as UTF-8"),
        "{error}"
    );
}

#[test]
fn a_file_without_a_key_is_refused() {
    for text in ["", "\n", "# nothing yet\n", "---\n"] {
        let error = error(text, &[]);
        assert!(error.contains("x.yaml is empty"), "{text:?}: {error}");
    }
}

#[test]
fn a_preset_lies_beneath_the_file_and_the_files_that_it_extends() {
    let folder = tempfile::tempdir().unwrap();
    let slow = "train: {steps: 9, seed: 1}\ngenerator: {heads: 8, layers: 8}\n";
    file(folder.path(), "slow.yaml", slow);
    file(
        folder.path(),
        "base.yaml",
        "generator: {heads: 4}\npreset: slow\npresets:\n  slow: {extends: slow.yaml}\n  quick: {train: {steps: 3}}\n",
    );
    let path = file(
        folder.path(),
        "x.yaml",
        "extends: base.yaml\ntrain: {seed: 2}\npresets:\n  slow: {generator: {label_dim: 16}}\n  quick: {train: {seed: 5}}\n",
    );
    let of = |preset: Option<&str>| load_with(&path, preset, &["cnn.layers=3".to_owned()]).unwrap();
    let values = |loaded: &Loaded| {
        let (train, generator) = (&loaded.experiment.train, &loaded.experiment.generator);
        (
            train.steps,
            train.seed,
            generator.heads,
            generator.layers,
            generator.label_dim,
        )
    };
    let (named, quick) = (of(None), of(Some("quick")));
    assert_eq!(values(&named), (9, 2, 4, 8, 16));
    assert_eq!(values(&quick), (3, 2, 4, 3, 32));
    let ends =
        |key: &str, end: &str| assert!(named.origins[key].ends_with(end), "{:?}", named.origins);
    ends("train.steps", "slow.yaml");
    ends("train.seed", "x.yaml");
    ends("generator.heads", "base.yaml");
    ends("generator.label_dim", "x.yaml, preset slow");
    ends("cnn.layers", "--set");
    assert!(!named.origins.contains_key("cnn.channels"));
}

#[test]
fn presets_that_do_not_exist_are_named_with_those_that_do() {
    let folder = tempfile::tempdir().unwrap();
    let with = "presets: {paper: {}, fast: {train: {stepz: 1}}}\n";
    for (text, preset, expected) in [
        (
            with,
            Some("fats"),
            "preset: fats: expected one of fast, paper",
        ),
        (with, None, "preset: none: expected one of fast, paper"),
        (with, Some("paper"), "train.stepz: unknown key"),
        (
            "train: {steps: 1}\n",
            Some("fast"),
            "the experiment has no presets",
        ),
        (
            "preset: [fast]\n",
            None,
            "preset: expected the name of a preset",
        ),
        (
            "presets: fast\n",
            None,
            "presets: expected names of presets",
        ),
        (
            "presets: {fast: 3}\n",
            None,
            "presets: expected names of presets",
        ),
    ] {
        let path = file(folder.path(), "x.yaml", text);
        let error = load_with(&path, preset, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
