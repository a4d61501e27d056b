//! A GPU gives the results of a CPU. Skipped if libtorch sees no GPU.

use hypertransformer::base::compute::{Compute, DeviceChoice};
use hypertransformer::model::batch::EpisodeBatch;
use hypertransformer::model::kernels::tape::Tape;
use hypertransformer::model::parameters::leaf;
use hypertransformer::model::pass::{Hooks, Mode};
use hypertransformer::settings::cnn::BatchNormMode;
use hypertransformer::train::gradient::Objective;
use tch::{Cuda, Device, Tensor};

use crate::common::models::{Setup, cpu, double, double_batch, relative_difference};
use crate::common::variants::{VARIANTS, setup_with_episodes};
use crate::common::{data_pack, experiment, glyphs, hypertransformer};

fn gpu_available() -> bool {
    let available = Cuda::is_available();
    if !available {
        eprintln!("skipped: libtorch sees no GPU");
    }
    available
}

/// Logits and the gradient of their loss, in double precision, on a device.
fn computed_on(
    device: Device,
    (setup, batch): (&Setup, &EpisodeBatch),
    mode: BatchNormMode,
) -> [Tensor; 2] {
    let moved = |tensor: &Tensor| tensor.to_device(device);
    let batch = EpisodeBatch {
        support: moved(&batch.support),
        support_labels: moved(&batch.support_labels),
        support_mask: None,
        query: moved(&batch.query),
        query_labels: moved(&batch.query_labels),
    };
    let phi = leaf(&moved(&double(&setup.phi)));
    let tape = Tape::default();
    let hooks = Hooks {
        tape: Some(&tape),
        ..Hooks::default()
    };
    let logits = setup
        .forward(&phi, &batch, (mode, Mode::Train), hooks)
        .logits;
    let loss = logits
        .flatten(0, 1)
        .cross_entropy_for_logits(&batch.query_labels.flatten(0, 1));
    let gradient = tape.gradient(&loss, &phi);
    [logits, gradient].map(|tensor| tensor.to_device(Device::Cpu))
}

#[test]
fn logits_and_gradients_of_every_variant_equal_those_of_a_cpu() {
    if !gpu_available() {
        return;
    }
    for variant in &VARIANTS {
        let (setup, episodes) = variant.setup();
        let name = variant.name;
        let batch = double_batch(&episodes);
        for mode in [BatchNormMode::Support, BatchNormMode::Query] {
            let [cpu, gpu] = [Device::Cpu, Device::Cuda(0)]
                .map(|device| computed_on(device, (&setup, &batch), mode));
            let of_logits = relative_difference(&cpu[0], &gpu[0]);
            assert!(of_logits < 1e-12, "{name}, {mode}: logits {of_logits:e}");
            // Libtorch's cross-entropy on a GPU has a gradient of single precision.
            let of_gradients = relative_difference(&cpu[1], &gpu[1]);
            assert!(
                of_gradients < 1e-5,
                "{name}, {mode}: gradients {of_gradients:e}"
            );
        }
    }
}

/// With everything that only training has: hidden samples, dropout, heads, penalties.
#[test]
fn loss_and_gradient_of_a_training_step_equal_those_of_a_cpu() {
    if !gpu_available() {
        return;
    }
    let overrides = [
        "generator.generates=all",
        "generator.learned_base=true",
        "generator.dropout=0.1",
        "generator.feature_dropout=0.1",
        "episode.unlabeled=2",
        "episode.distractors=1",
        "train.masking.unlabeled=0.5",
        "train.l2=0.01",
        "train.weight_variation=0.01",
        "train.label_smoothing=0.1",
        "train.warmup_head_steps=100",
        "train.real_class_head={weight: 0.5, classes: 38}",
    ];
    let (setup, episodes) = setup_with_episodes(&overrides);
    let step = |compute: Compute| {
        let batch_size = episodes.len();
        let objective = Objective {
            batch_size,
            ..Objective::at(&experiment(&overrides), 0)
        };
        let found = setup.step(&compute, episodes.clone(), objective);
        (found.loss, found.gradient.to_device(Device::Cpu))
    };
    let (cpu_loss, cpu) = step(cpu(1));
    let (gpu_loss, gpu) = step(Compute::new(DeviceChoice::Cuda(0), Some(1)).unwrap());
    assert!((cpu_loss - gpu_loss).abs() < 1e-4, "{cpu_loss} {gpu_loss}");
    // In single precision a few ReLUs and maxima fall on the other side.
    let difference = relative_difference(&cpu, &gpu);
    assert!(difference < 0.05, "{difference}");
}

#[test]
fn a_run_trained_on_a_gpu_is_as_accurate_on_a_cpu() {
    if !gpu_available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    hypertransformer()
        .args([
            "train",
            "experiments/synthetic.yaml",
            "--device=cuda:0",
            "--quiet",
        ])
        .args(["--set=train.steps=40", "--set=train.warmup_steps=4"])
        .args(["--set=validation.episodes=8", "--set=episode.way=5"])
        .args(["--set", &data_pack(glyphs())])
        .arg(format!("--run-dir={}", run.display()))
        .assert()
        .success();
    let accuracy = |device: &str| -> f64 {
        let output = folder.path().join("evaluation.json");
        hypertransformer()
            .args(["evaluate", "--episodes=100", "--device", device, "--output"])
            .args([&output, &run])
            .assert()
            .success();
        let summary = std::fs::read_to_string(output).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        summary["accuracy_mean"].as_f64().unwrap()
    };
    let (gpu, cpu) = (accuracy("cuda:0"), accuracy("cpu"));
    assert!(gpu > 0.3, "chance is 0.2: {gpu}");
    assert!((gpu - cpu).abs() < 2e-3, "{gpu} {cpu}");
}
