//! What `bench` reports.

use crate::common::{data_pack, glyphs, hypertransformer};
use serde_json::Value;

/// The JSON of `bench` with these words, on a small pack, 5-way.
fn measured(words: &[&str]) -> Value {
    let mut command = hypertransformer();
    command.arg("bench").args(words).arg("--json");
    command.args(["--set", &data_pack(glyphs()), "--set", "episode.way=5"]);
    serde_json::from_slice(&command.assert().success().get_output().stdout).unwrap()
}

#[test]
fn each_benchmark_reports_what_it_measured() {
    for what in ["step", "evaluation", "loader"] {
        let found = measured(&[what, "--episodes", "8"]);
        assert_eq!(found["what"], what);
        assert!(found["milliseconds_per_episode"].as_f64().unwrap() > 0.0);
    }
    assert!(measured(&["products"])["gflops"].as_f64().unwrap() > 0.0);
}

#[test]
fn bench_times_evaluation_with_the_queries_of_evaluation() {
    let queries = ["--set", "episode.evaluation_query=7"];
    let found = measured(&[&["evaluation", "--episodes", "2"][..], &queries].concat());
    let rate = |key: &str| found[key].as_f64().unwrap();
    let images = rate("images_per_second") / rate("episodes_per_second");
    assert!((images - 5.0 * (1.0 + 7.0)).abs() < 1e-6, "{images}");
}
