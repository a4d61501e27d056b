//! θ, logits, gradients and training steps of every variant against an independent implementation in plain PyTorch
//! (`python/hypertransformer/`), in double precision.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use hypertransformer::episode::episode::Episode;
use hypertransformer::model::batch::{EpisodeBatch, real_classes};
use hypertransformer::model::hypertransformer::{Prediction, Theta};
use hypertransformer::model::parameters::{ParameterLayout, leaf};
use hypertransformer::model::pass::{Hooks, Mode};
use hypertransformer::run::checkpoint::{self, Checkpoint, Progress};
use hypertransformer::settings::cnn::BatchNormMode;
use hypertransformer::settings::file::to_yaml;
use hypertransformer::train::optimizer::{Optimizer, clip};
use serde_json::{Value, json};
use tch::{Device, Kind, Reduction, Tensor};

use crate::common::models::{MODES, Setup, double, double_batch, hide_in_double, setup};
use crate::common::variants::{VARIANTS, Variant};
use crate::common::{episodes, experiment, repository};

/// Factor of the penalties in the compared loss, which has every term of training.
const PENALTY: f64 = 0.01;

/// A Python with torch: `PYTORCH`, else the one that `make parity` installs.
fn pytorch() -> Option<PathBuf> {
    let here = repository(".venv-baselines/bin/python");
    let python = std::env::var_os("PYTORCH").map_or(here, PathBuf::from);
    let output = Command::new(&python)
        .args(["-c", "import torch, safetensors, yaml"])
        .output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!(
        "skipped: {} has no torch: `make parity` installs it, or set PYTORCH",
        python.display()
    );
    None
}

/// The loss of one episode with every term of training, and its prediction.
fn objective(
    setup: &Setup,
    phi: &Tensor,
    batch: &EpisodeBatch,
    classes: &Tensor,
    (batch_norm, mode): (BatchNormMode, Mode),
) -> (Tensor, Prediction) {
    let hooks = Hooks {
        heads: mode == Mode::Train,
        ..Hooks::default()
    };
    let prediction = setup.forward(phi, batch, (batch_norm, mode), hooks);
    let labels = batch.query_labels.get(0);
    let cross_entropy = |logits: &Tensor, labels: &Tensor, smoothing: f64| {
        logits.cross_entropy_loss(labels, None::<&Tensor>, Reduction::Mean, -100, smoothing)
    };
    let mut loss = cross_entropy(&prediction.logits.get(0), &labels, 0.1);
    loss += prediction.theta.squared_norm() * PENALTY;
    if let Some(variation) = &prediction.theta.variation {
        loss += variation * PENALTY;
    }
    if let Some(heads) = &prediction.heads {
        for logits in &heads.warm_up {
            loss += cross_entropy(&logits.get(0), &labels, 0.0);
        }
        if let Some(logits) = &heads.real_classes {
            loss += cross_entropy(logits, classes, 0.0);
        }
    }
    (loss, prediction)
}

/// θ of the only task, under the names that Python uses.
fn named_theta(theta: &Theta) -> Vec<(String, Tensor)> {
    // Weights that all tasks share have no task dimension.
    let of_task = |weights: &Tensor, shared: usize| match weights.dim() {
        dimensions if dimensions == shared => weights.detach(),
        _ => weights.detach().get(0),
    };
    let mut named = Vec::new();
    for (index, (weights, _)) in theta.layers.iter().enumerate() {
        let mut add = |kind: &str, tensor: Tensor| {
            named.push((format!("theta.layer{}.{kind}", index + 1), tensor));
        };
        add("kernel", of_task(&weights.kernel, 4));
        if let Some(bias) = &weights.bias {
            add("bias", of_task(bias, 1));
        }
        add("gamma", of_task(&weights.batch_norm.0, 1));
        add("beta", of_task(&weights.batch_norm.1, 1));
    }
    named.push((
        "theta.logits.weight".to_owned(),
        theta.logits.weight.detach().get(0),
    ));
    named.push((
        "theta.logits.bias".to_owned(),
        theta.logits.bias.detach().get(0),
    ));
    named
}

/// The parts of a flat vector like φ, each under its name.
fn named(prefix: &str, layout: &ParameterLayout, flat: &Tensor) -> Vec<(String, Tensor)> {
    let mut offset = 0;
    layout
        .specs()
        .iter()
        .map(|spec| {
            let length = spec.len() as i64;
            let part = flat.narrow(0, offset, length).view(&spec.shape[..]);
            offset += length;
            (format!("{prefix}.{}", spec.name), part)
        })
        .collect()
}

/// One episode as the named tensors that Python reads.
fn episode_tensors(batch: &EpisodeBatch, classes: &Tensor) -> Vec<(String, Tensor)> {
    let mut tensors: Vec<(String, Tensor)> = [
        ("support", &batch.support),
        ("support_labels", &batch.support_labels),
        ("query", &batch.query),
        ("query_labels", &batch.query_labels),
    ]
    .map(|(name, tensor)| (name.to_owned(), tensor.get(0)))
    .into();
    if let Some(mask) = &batch.support_mask {
        tensors.push(("seen".to_owned(), mask.get(0)));
    }
    tensors.push(("real_classes".to_owned(), classes.shallow_clone()));
    tensors
}

/// Writes a case's folder: its checkpoint, by the program's own writer, and how to compute.
fn write_case(folder: &Path, setup: &Setup, overrides: &[&str], case: &Value) {
    std::fs::create_dir(folder).unwrap();
    let saved = Checkpoint {
        preparation: None,
        progress: Progress::default(),
        step: 0,
        best: None,
        model: setup.state(),
        optimizer: HashMap::new(),
        experiment: to_yaml(&experiment(overrides)),
    };
    let file = folder.join("checkpoint.safetensors");
    checkpoint::save(&file, &setup.model, &saved).unwrap();
    std::fs::write(folder.join("case.json"), case.to_string()).unwrap();
}

/// Hides the second labelled sample and the last sample, which is unlabelled if the episode has unlabelled ones.
fn hide_some(batch: &mut EpisodeBatch) {
    let samples = batch.support.size()[1] as usize;
    let mut seen = vec![1.0; samples];
    seen[1] = 0.0;
    seen[samples - 1] = 0.0;
    hide_in_double(batch, &[seen]);
}

/// Sets the moving averages to values as they are after some training.
fn change_buffers(setup: &mut Setup) {
    let specs = setup.model.buffers().specs();
    let values: Vec<f32> = specs
        .iter()
        .flat_map(|spec| {
            let start = if spec.name.ends_with("variance") {
                0.5
            } else {
                -0.2
            };
            (0..spec.len()).map(move |index| start + 0.1 * (index % 5) as f32)
        })
        .collect();
    setup.buffers = Tensor::from_slice(&values);
}

/// Runs the comparison of all cases in `folder`.
fn compare(python: &Path, folder: &Path) -> serde_json::Map<String, Value> {
    let output = Command::new(python)
        .args(["-m", "baselines.parity"])
        .arg(folder)
        .env("PYTHONPATH", repository("python"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A model with warm-up heads and a head that classifies real classes.
const HEADS: Variant = Variant {
    name: "training-heads",
    overrides: &[
        "train.warmup_head_steps=10",
        "train.real_class_head={weight: 0.1, classes: 60}",
        "generator.generates=last 1",
    ],
};

#[test]
fn theta_logits_and_gradients_of_every_variant_equal_those_of_pytorch() {
    let Some(python) = pytorch() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (number, variant) in VARIANTS.iter().chain([&HEADS]).enumerate() {
        let (mut setup, episodes) = variant.setup();
        change_buffers(&mut setup);
        for (place, mode) in MODES.into_iter().enumerate() {
            let episode: &[Episode] = &episodes[place..=place];
            let mut batch = double_batch(episode);
            // Every mode and every variant comes with and without hidden samples.
            if (number + place) % 2 == 1 {
                hide_some(&mut batch);
            }
            let pass = match mode {
                BatchNormMode::Running => Mode::Infer,
                BatchNormMode::Query | BatchNormMode::Support => Mode::Train,
            };
            let classes = real_classes(episode, Device::Cpu).get(0);
            let phi = leaf(&double(&setup.phi));
            let (loss, found) = objective(&setup, &phi, &batch, &classes, (mode, pass));
            let gradient = Tensor::run_backward(&[&loss], &[&phi], false, false).swap_remove(0);
            let mut tensors = episode_tensors(&batch, &classes);
            tensors.push(("logits".to_owned(), found.logits.detach().get(0)));
            tensors.extend(named_theta(&found.theta));
            tensors.extend(named("gradient", setup.model.layout(), &gradient));
            let tensors: Vec<_> = tensors
                .into_iter()
                .map(|(name, tensor)| (name, tensor.contiguous()))
                .collect();
            let path = folder.path().join(format!("{}-{mode}", variant.name));
            let case = json!({"mode": mode, "training": pass == Mode::Train});
            write_case(&path, &setup, variant.overrides, &case);
            Tensor::write_safetensors(&tensors, path.join("episode.safetensors")).unwrap();
        }
    }
    let found = compare(&python, folder.path());
    assert_eq!(found.len(), 3 * (VARIANTS.len() + 1));
    for (case, differences) in found {
        // Moving averages far from the data amplify rounding errors a hundred thousand times between θ and the logits.
        let of_gradient = if case.ends_with("running") {
            1e-7
        } else {
            1e-8
        };
        for (what, limit) in [("theta", 1e-8), ("logits", 1e-8), ("gradient", of_gradient)] {
            let difference = differences[what].as_f64().unwrap();
            assert!(difference < limit, "{case}: {differences}");
        }
    }
}

#[test]
fn twenty_training_steps_equal_those_of_pytorch() {
    const STEPS: u64 = 20;
    let Some(python) = pytorch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let batches: Vec<EpisodeBatch> = episodes(STEPS, 1, 4)
        .into_iter()
        .map(|episode| double_batch(&[episode]))
        .collect();
    let everything: &[&str] = &["generator.generates=all", "generator.learned_base=true"];
    let adamw = ("adamw", 0.006, "matrices");
    let optimizers = [
        ("sgd", 0.02, "matrices"),
        ("momentum", 0.005, "matrices"),
        adamw,
        ("adamw", 0.006, "all"),
    ];
    for (name, variant, optimizers) in [
        ("logits", &[][..], &optimizers[..]),
        ("all", everything, &[adamw]),
    ] {
        for &(optimizer, rate, decayed) in optimizers {
            let chosen = [
                format!("train.optimizer={optimizer}"),
                format!("train.weight_decay_on={decayed}"),
            ];
            let chosen = chosen.iter().map(String::as_str);
            let overrides: Vec<&str> = variant.iter().copied().chain(chosen).collect();
            let setup = setup(&overrides, 0.05);
            let config = experiment(&overrides).train;
            let (mode, longest) = (BatchNormMode::Support, 0.5);
            let mut phi = double(&setup.phi);
            let mut steps = Optimizer::new(&config, setup.model.layout(), &phi);
            let mut tensors = Vec::new();
            for (step, batch) in batches.iter().enumerate() {
                let classes = Tensor::zeros([5], (Kind::Int64, Device::Cpu));
                let asked = leaf(&phi);
                let (loss, _) = objective(&setup, &asked, batch, &classes, (mode, Mode::Train));
                let gradient =
                    Tensor::run_backward(&[&loss], &[&asked], false, false).swap_remove(0);
                steps.step(&mut phi, &clip(&gradient, Some(longest)).0, rate);
                let numbered = |(name, tensor)| (format!("step{step}.{name}"), tensor);
                tensors.extend(episode_tensors(batch, &classes).into_iter().map(numbered));
            }
            tensors.extend(named("phi", setup.model.layout(), &phi));
            let case = json!({
                "mode": mode, "training": true, "steps": STEPS, "optimizer": optimizer,
                "learning_rate": rate, "clip_norm": longest, "beta2": config.beta2,
                "weight_decay": config.weight_decay, "weight_decay_on": config.weight_decay_on,
            });
            let path = folder.path().join(format!("{name}-{optimizer}-{decayed}"));
            write_case(&path, &setup, &overrides, &case);
            Tensor::write_safetensors(&tensors, path.join("training.safetensors")).unwrap();
        }
    }
    for (case, found) in compare(&python, folder.path()) {
        assert!(found["moved"].as_f64().unwrap() > 1e-3, "{case}: {found}");
        assert!(found["phi"].as_f64().unwrap() < 1e-7, "{case}: {found}");
    }
}
