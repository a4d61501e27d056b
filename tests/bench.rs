//! What `bench` tells.

mod common;

use common::{hypertransformer, small_pack};

#[test]
fn each_kind_tells_what_it_measured() {
    let folder = tempfile::tempdir().unwrap();
    let pack = small_pack(folder.path());
    let pack = format!("data.pack={}", pack.display());
    for what in ["step", "evaluation", "loader"] {
        let mut command = hypertransformer();
        command
            .args(["bench", what, "--json", "--episodes", "8", "--set", &pack])
            .args(["--set", "episode.way=5"]);
        let output = command.assert().success().get_output().stdout.clone();
        let found: serde_json::Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(found["what"], what);
        assert!(found["milliseconds_per_episode"].as_f64().unwrap() > 0.0);
    }
    let mut command = hypertransformer();
    let told = command
        .args(["bench", "products", "--json"])
        .assert()
        .success();
    let found: serde_json::Value = serde_json::from_slice(&told.get_output().stdout).unwrap();
    assert!(found["gflops"].as_f64().unwrap() > 0.0);
}

#[test]
fn bench_times_evaluation_with_the_queries_of_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let pack = format!("data.pack={}", small_pack(folder.path()).display());
    let mut command = hypertransformer();
    command.args([
        "bench",
        "evaluation",
        "--episodes",
        "2",
        "--json",
        "--set",
        &pack,
    ]);
    command.args([
        "--set",
        "episode.way=5",
        "--set",
        "episode.evaluation_query=7",
    ]);
    let output = command.assert().success().get_output().stdout.clone();
    let found: serde_json::Value = serde_json::from_slice(&output).unwrap();
    let rate = |key: &str| found[key].as_f64().unwrap();
    let images = rate("images_per_second") / rate("episodes_per_second");
    assert!((images - 5.0 * (1.0 + 7.0)).abs() < 1e-6, "{images}");
}
