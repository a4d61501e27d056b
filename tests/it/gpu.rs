//! A GPU computes what a CPU does. Skipped where libtorch sees none.

use crate::common::{VARIANTS, double, double_batch, hypertransformer, of_variant};
use hypertransformer::base::compute::{Compute, DeviceChoice};
use hypertransformer::model::batch::EpisodeBatch;
use hypertransformer::model::kernels::tape::Tape;
use hypertransformer::model::parameters::leaf;
use hypertransformer::model::pass::Hooks;
use hypertransformer::settings::cnn::BatchNormMode;
use hypertransformer::train::gradient::{Objective, Prepared, step_gradient};
use tch::{Cuda, Device, Kind, Tensor};

fn there_is_a_gpu() -> bool {
    let there = Cuda::is_available();
    if !there {
        eprintln!("skipped: libtorch sees no GPU");
    }
    there
}

/// Logits and the gradient of their loss, in double precision, on a device.
fn computed_on(
    device: Device,
    (setup, batch): (&crate::common::Setup, &EpisodeBatch),
    mode: BatchNormMode,
) -> [Tensor; 2] {
    let there = |tensor: &Tensor| tensor.to_device(device);
    let batch = EpisodeBatch {
        support: there(&batch.support),
        support_labels: there(&batch.support_labels),
        support_mask: None,
        query: there(&batch.query),
        query_labels: there(&batch.query_labels),
    };
    let phi = leaf(&there(&double(&setup.phi)));
    let views = setup.model.views(&phi, &there(&double(&setup.buffers)));
    let tape = Tape::default();
    let hooks = Hooks {
        tape: Some(&tape),
        ..Hooks::default()
    };
    let logits = setup
        .model
        .forward(&views, &batch, mode, true, hooks)
        .logits;
    let loss = logits
        .flatten(0, 1)
        .cross_entropy_for_logits(&batch.query_labels.flatten(0, 1));
    let gradient = tape.gradient(&loss, &phi);
    [logits, gradient].map(|tensor| tensor.to_device(Device::Cpu))
}

/// The norm of the difference over that of the first.
fn apart(one: &Tensor, other: &Tensor) -> f64 {
    let norm = |values: &Tensor| values.square().sum(Kind::Double).sqrt().double_value(&[]);
    norm(&(one - other)) / norm(one)
}

#[test]
fn every_variant_has_the_cpus_logits_and_gradients() {
    if !there_is_a_gpu() {
        return;
    }
    for overrides in VARIANTS {
        let (setup, episodes) = of_variant(overrides);
        let batch = double_batch(&episodes);
        for mode in [BatchNormMode::Support, BatchNormMode::Query] {
            let [cpu, gpu] = [Device::Cpu, Device::Cuda(0)]
                .map(|device| computed_on(device, (&setup, &batch), mode));
            assert!(
                apart(&cpu[0], &gpu[0]) < 1e-12,
                "{overrides:?}, {mode}: logits"
            );
            // Libtorch's cross-entropy on a GPU has a gradient of single precision.
            assert!(
                apart(&cpu[1], &gpu[1]) < 1e-5,
                "{overrides:?}, {mode}: gradient"
            );
        }
    }
}

/// With everything that training adds: hidden samples, dropout, heads, penalties.
#[test]
fn a_training_step_has_the_cpus_loss_and_gradient() {
    if !there_is_a_gpu() {
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
    let (setup, episodes) = of_variant(&overrides);
    let step = |choice| {
        let compute = Compute::new(choice, Some(1)).unwrap();
        let [phi, buffers] =
            [&setup.phi, &setup.buffers].map(|values| values.to_device(compute.device));
        let prepared = Prepared::new(episodes.clone(), compute.device);
        let together = episodes.len();
        let objective = Objective {
            together,
            ..Objective::at(&crate::common::experiment(&overrides), 0)
        };
        let found = step_gradient(&compute, &setup.model, &phi, &buffers, &prepared, objective);
        (found.loss, found.gradient.to_device(Device::Cpu))
    };
    let (cpu_loss, cpu) = step(DeviceChoice::Cpu);
    let (gpu_loss, gpu) = step(DeviceChoice::Cuda(0));
    assert!((cpu_loss - gpu_loss).abs() < 1e-4, "{cpu_loss} {gpu_loss}");
    // Single precision: here and there a ReLU or a maximum tips over.
    assert!(apart(&cpu, &gpu) < 0.05, "{}", apart(&cpu, &gpu));
}

#[test]
fn a_run_of_a_gpu_answers_alike_on_a_cpu() {
    if !there_is_a_gpu() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pack = crate::common::small_pack(folder.path());
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
        .arg(format!("--set=data.pack={}", pack.display()))
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
