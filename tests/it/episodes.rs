//! `episodes export`: other programs get exactly the episodes that `evaluate` uses.

use std::sync::Arc;

use crate::common::{glyphs, hypertransformer};
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use hypertransformer::run::assemble::evaluation_sampler;
use hypertransformer::settings::experiment::Experiment;
use predicates::str::contains;
use safetensors::SafeTensors;

/// Rows of an i64 tensor `[E, N]`.
fn rows(file: &SafeTensors, name: &str) -> Vec<Vec<i64>> {
    let tensor = file.tensor(name).unwrap();
    let values: Vec<i64> = tensor
        .data()
        .chunks_exact(8)
        .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    values
        .chunks_exact(tensor.shape()[1])
        .map(<[i64]>::to_vec)
        .collect()
}

#[test]
fn exported_episodes_are_those_that_evaluate_uses() {
    let folder = tempfile::tempdir().unwrap();
    let pack = glyphs();
    let list = folder.path().join("episodes.safetensors");
    hypertransformer()
        .args(["episodes", "export"])
        .arg(pack)
        .args([
            "--split", "test", "--way", "4", "--shot", "2", "--query", "3",
        ])
        .args(["--unlabeled", "1", "--distractors", "1"])
        .args(["--episodes", "7", "--seed", "5", "--output"])
        .arg(&list)
        .assert()
        .success();

    let mut experiment = Experiment::default();
    let episode = &mut experiment.episode;
    (episode.way, episode.shot, episode.evaluation_query) = (4, 2, 3);
    (episode.unlabeled, episode.distractors) = (1, 1);
    let pack = Arc::new(Pack::open(pack).unwrap());
    let sampler = evaluation_sampler(&experiment, &pack, Part::Test, 5).unwrap();
    let bytes = std::fs::read(&list).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let [classes, support, support_labels, query, query_labels] = [
        "classes",
        "support",
        "support_labels",
        "query",
        "query_labels",
    ]
    .map(|name| rows(&file, name));
    assert_eq!(support.len(), 7);
    for index in 0..7 {
        let plan = sampler.plan(index as u64);
        // Labels as the model gets them: the class of an unlabelled image is hidden from it.
        let episode = sampler.episode(index as u64);
        let images = |samples: &[hypertransformer::episode::episode::Sample]| {
            samples
                .iter()
                .map(|sample| sample.image as i64)
                .collect::<Vec<_>>()
        };
        assert_eq!(support[index], images(&plan.support));
        assert_eq!(query[index], images(&plan.query));
        assert_eq!(support_labels[index], episode.support.labels);
        assert_eq!(query_labels[index], episode.query.labels);
        let expected: Vec<i64> = plan.classes.iter().map(|&class| class as i64).collect();
        assert_eq!(classes[index], expected);
    }
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let facts: serde_json::Value =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["episodes"]).unwrap();
    assert_eq!(facts["pack_content_hash"], pack.metadata().content_hash);
    assert_eq!(facts["split"], "test");
    assert_eq!(facts["seed"], 5);
}

#[test]
fn episodes_that_the_pack_cannot_give_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let pack = glyphs();
    let list = folder.path().join("episodes.safetensors");
    let export = |extra: &[&str]| {
        let mut command = hypertransformer();
        command.args(["episodes", "export"]).arg(pack).args(extra);
        command.arg("--output").arg(&list).assert()
    };
    export(&["--way", "1000"])
        .code(1)
        .stderr(contains("the episodes need 1000 classes"));
    export(&["--way", "5", "--scheme", "defualt"])
        .code(1)
        .stderr(contains("did you mean `default`?"));
    export(&["--way", "0"]).code(2).stderr(contains("--way"));
    assert!(!list.exists());
}
