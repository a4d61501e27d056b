//! `analyze`: attention maps of a run, and oracles.

mod common;

use std::path::Path;

use common::hypertransformer;
use safetensors::SafeTensors;

/// A run of one step in `folder`, 5-way, with 2 labelled and 1 unlabelled sample a class.
fn trained(folder: &Path, sets: &[&str]) {
    let pack = format!("data.pack={}", common::small_pack(folder).display());
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
fn a_separate_generator_has_maps_of_samples_weights_and_between_them() {
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
fn the_oracle_of_a_cnn_of_some_size_knows_its_images_better_than_a_tiny_ones() {
    let folder = tempfile::tempdir().unwrap();
    let pack = common::small_pack(folder.path());
    let accuracy = |channels: u32| {
        let output = folder.path().join(format!("oracle-{channels}.json"));
        common::hypertransformer()
            .args(["analyze", "oracle", "experiments/synthetic.yaml"])
            .args(["--sets", "2", "--steps", "60", "--output"])
            .arg(&output)
            .args(["--set", &format!("data.pack={}", pack.display())])
            .args(["--set", "episode.way=5"])
            .args(["--set", &format!("cnn.channels={channels}")])
            .assert()
            .success()
            .stdout(predicates::str::contains("2 sets of 5 train classes"));
        let summary: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
        summary["summary"]["accuracy_mean"].as_f64().unwrap()
    };
    let (tiny, enough) = (accuracy(1), accuracy(8));
    assert!(enough > 0.95 && tiny < enough, "{tiny} {enough}");
}
