//! `analyze`: attention maps, how much generated weights adapt to the task, and oracles.

use std::path::Path;

use crate::common::models::{Setup, setup};
use crate::common::{data_pack, glyphs, hypertransformer, sampler};
use hypertransformer::evaluate::adaptation::MeanWeights;
use hypertransformer::evaluate::summary::EpisodeRecord;
use hypertransformer::model::trained::Trained;
use hypertransformer::settings::cnn::BatchNormMode;
use predicates::str::contains;
use safetensors::SafeTensors;
use tch::Tensor;

/// A run of one step in `folder`, 5-way, with 2 labelled and 1 unlabelled sample a class.
fn trained(folder: &Path, sets: &[&str]) {
    let pack = data_pack(glyphs());
    let mut command = hypertransformer();
    command
        .args([
            "train",
            "experiments/synthetic.yaml",
            "--quiet",
            "--run-dir",
        ])
        .arg(folder.join("run"));
    let base = [
        pack.as_str(),
        "episode.way=5",
        "episode.shot=2",
        "episode.unlabeled=1",
        "train.steps=1",
        "train.warmup_steps=0",
        "validation.episodes=2",
        "generator.layers=2",
        "generator.generates=last 1",
    ];
    for set in base.iter().chain(sets) {
        command.args(["--set", set]);
    }
    command.assert().success();
}

/// Shape and values of each map.
fn maps(folder: &Path) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    hypertransformer()
        .args(["analyze", "attention", "--episodes", "3"])
        .arg(folder.join("run"))
        .assert()
        .success();
    let bytes = std::fs::read(folder.join("run/analysis/attention.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |bytes: &[u8]| -> Vec<f32> {
        bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
            .collect()
    };
    file.iter()
        .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), values(view.data())))
        .collect()
}

#[test]
fn attention_of_a_joint_encoder_starts_as_class_means() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &["train.learning_rate=1e-9"]);
    let maps = maps(folder.path());
    for (name, shape, values) in &maps {
        // 5 labels of 2 samples and 5 unlabelled samples, beside the slices of the last convolution or the logits.
        let slices = if name.contains("layer4") { 8 } else { 5 };
        let rows = if name.contains("encoder.layer2") {
            slices
        } else {
            slices + 15
        };
        assert_eq!(shape, &[2, rows, slices + 15], "{name}");
        for row in values.chunks(slices + 15) {
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() < 1e-4, "{name}: {sum}");
        }
    }
    // The start (Appendix A): the slice of class c attends to the samples of class c, which lie sorted by label.
    let (_, _, first) = maps
        .iter()
        .find(|(name, ..)| name == "generator.logits.encoder.layer1.attention")
        .unwrap();
    for class in 0..5 {
        let row = &first[class * 20..][..20];
        let own: f32 = row[5 + 2 * class..][..2].iter().sum();
        let others: f32 = row[5..15].iter().sum::<f32>() - own;
        assert!(own > 10.0 * others, "class {class}: {own} against {others}");
    }
    for layer in ["layer4", "logits"] {
        let path = folder
            .path()
            .join(format!("run/analysis/attention-{layer}.png"));
        let picture = image::open(path).unwrap().to_rgb8();
        assert!(picture.pixels().any(|pixel| pixel.0 == [8, 48, 107]));
    }
}

#[test]
fn a_separate_generator_has_maps_among_samples_among_weights_and_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let sets = [
        "generator.kind=separate",
        "initialization=paper",
        "generator.generates=logits",
    ];
    trained(folder.path(), &sets);
    let mut shapes: Vec<_> = maps(folder.path())
        .into_iter()
        .map(|(name, shape, _)| (name.replace("generator.logits.", ""), shape))
        .collect();
    shapes.sort();
    let expected = [
        ("decoder.layer1.attention", [2, 5, 5]),
        ("decoder.layer1.cross_attention", [2, 5, 15]),
        ("decoder.layer2.attention", [2, 5, 5]),
        ("decoder.layer2.cross_attention", [2, 5, 15]),
        ("encoder.layer1.attention", [2, 15, 15]),
        ("encoder.layer2.attention", [2, 15, 15]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape.to_vec()));
    assert_eq!(shapes, expected);
}

#[test]
fn the_oracle_of_a_larger_cnn_is_more_accurate() {
    let folder = tempfile::tempdir().unwrap();
    let pack = data_pack(glyphs());
    let accuracy = |channels: u32| {
        let output = folder.path().join(format!("oracle-{channels}.json"));
        hypertransformer()
            .args(["analyze", "oracle", "experiments/synthetic.yaml"])
            .args(["--sets", "2", "--steps", "60", "--output"])
            .arg(&output)
            .args(["--set", &pack])
            .args(["--set", "episode.way=5"])
            .args(["--set", &format!("cnn.channels={channels}")])
            .assert()
            .success()
            .stdout(contains("2 sets of 5 train classes"));
        let summary: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
        summary["summary"]["accuracy_mean"].as_f64().unwrap()
    };
    let (tiny, enough) = (accuracy(1), accuracy(8));
    assert!(enough > 0.95 && tiny < enough, "{tiny} {enough}");
}

#[test]
fn adaptation_is_reported_as_text_and_json() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &[]);
    let run = |episodes: &str, more: &[&str]| {
        let mut command = hypertransformer();
        command.args(["analyze", "adaptation", "--episodes", episodes]);
        command.arg(folder.path().join("run")).args(more).assert()
    };
    run("1", &[]).failure().stderr(contains("at least 2"));
    run("8", &["--overlapping"])
        .success()
        .stdout(contains("queries overlap the support"));
    run("8", &[])
        .success()
        .stdout(contains("points (8 episodes, paired"));
    let bytes = std::fs::read(folder.path().join("run/analysis/adaptation.json")).unwrap();
    let found: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let mean = |which: &str| found[which]["accuracy_mean"].as_f64().unwrap();
    assert!((mean("own") - mean("means") - mean("gain")).abs() < 1e-9);
    // Training keeps a curve of it.
    let metrics = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    assert!(metrics.contains("validation/deviation_layer4"), "{metrics}");
}

#[test]
fn adaptation_without_a_generated_convolution_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &["generator.generates=logits"]);
    hypertransformer()
        .args(["analyze", "adaptation"])
        .arg(folder.path().join("run"))
        .assert()
        .failure()
        .stderr(contains("no convolution is generated"));
}

#[test]
fn deviation_is_that_of_the_kernels_and_zero_if_the_generator_ignores_the_task() {
    let overrides = ["generator.generates=last 1", "generator.learned_base=true"];
    let setup = setup(&overrides, 0.05);
    let sampler = sampler(5, 1, 4);
    let mode = BatchNormMode::Support;
    let over = |setup: &Setup, episodes| {
        let trained = Trained {
            model: &setup.model,
            state: &setup.state(),
        };
        let means = MeanWeights::over_tasks(&trained, &sampler, episodes, mode);
        let records = means.evaluate(&trained, &sampler, episodes, mode);
        assert_eq!(means.deviations.len(), 1);
        (means.deviations[0], records)
    };
    let (found, _) = over(&setup, 3);
    // The kernels of the same three tasks at once.
    let episodes: Vec<_> = (0..3).map(|index| sampler.episode(index)).collect();
    let prediction = setup.predict(&episodes, mode);
    let kernels = prediction.theta.layers[3].0.kernel.flatten(1, -1);
    let mean = kernels.mean_dim(&[0i64][..], false, None);
    let squares = (&kernels - &mean).square().sum(None) / 3.0;
    let close = |one: f64, other: &Tensor| (one / other.double_value(&[]) - 1.0).abs() < 1e-3;
    assert_eq!(found.layer, 4);
    assert!(close(found.norm, &mean.norm()), "{found:?}");
    assert!(close(found.deviation, &squares.sqrt()), "{found:?}");
    // Of one task the mean is its own: the same answers.
    let (alone, records) = over(&setup, 1);
    assert!(alone.deviation < 1e-6 * alone.norm, "{alone:?}");
    let own = setup.predict(&episodes[..1], mode).logits;
    let labels = Tensor::from_slice(&episodes[0].query.labels).unsqueeze(0);
    let expected = EpisodeRecord::of(&[0], &own, &labels)[0];
    assert!(
        (records[0].loss - expected.loss).abs() < 1e-5,
        "{records:?}"
    );
    // Where attention adds nothing to the placeholders, nothing of the task is left.
    for layer in 1..=3 {
        let name = format!("generator.layer4.encoder.layer{layer}.attention.output.weight");
        let _ = setup.named(&setup.phi, &name).fill_(0.0);
    }
    let (blind, _) = over(&setup, 3);
    assert!(blind.deviation < 1e-6 * blind.norm, "{blind:?}");
    assert!(found.deviation > 1e-3 * found.norm, "{found:?}");
}
