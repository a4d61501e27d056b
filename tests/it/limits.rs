//! Input that asks for more work or memory than anything sensible needs is refused before either is spent.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::edited::{redescribed, resealed};
use crate::common::{hypertransformer, repository};
use hypertransformer::export::model_file::{self, onnx_bytes, safetensors_bytes};
use hypertransformer::export::standalone::{Layer, Operation, StandaloneCnn};
use hypertransformer::settings::file::{load, parse};
use predicates::prelude::*;
use predicates::str::contains;

const MODEL: &str = "models/omniglot-20way.safetensors";
const SUPPORT: &str = "examples/glyphs/support";
const PICTURE: &str = "examples/glyphs/query/glyph0001/4.png";

fn error_of(path: &Path) -> String {
    load(path, &[]).unwrap_err().to_string()
}

/// Files `0.yaml` to `N-1.yaml`, each of which extends the next as `extends` says; the last sets a key.
fn chain(folder: &Path, files: usize, extends: impl Fn(usize) -> String) -> PathBuf {
    for file in 0..files {
        let text = match file + 1 == files {
            true => "train: {steps: 7}\n".to_owned(),
            false => format!("extends: {}\n", extends(file + 1)),
        };
        fs::write(folder.join(format!("{file}.yaml")), text).unwrap();
    }
    folder.join("0.yaml")
}

#[test]
fn a_file_that_many_files_extend_twice_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    // 2^31 readings, were each named file read.
    let path = chain(folder.path(), 32, |next| {
        format!("[{next}.yaml, {next}.yaml]")
    });
    assert_eq!(load(&path, &[]).unwrap().train.steps, 7);
}

#[test]
fn long_chains_and_many_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = chain(folder.path(), 5000, |next| format!("{next}.yaml"));
    let error = error_of(&path);
    assert!(error.contains("33.yaml is one file too many"), "{error}");
    let many = vec!["4999.yaml"; 101].join(", ");
    fs::write(&path, format!("extends: [{many}]\n")).unwrap();
    let error = error_of(&path);
    assert!(error.contains("4999.yaml is one file too many"), "{error}");
}

#[test]
fn settings_of_more_layers_than_there_can_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layers: String = (1..4000).map(|layer| format!("{layer}: {{}}, ")).collect();
    let text = format!("generator: {{per_layer: {{{layers}}}}}\n");
    let path = folder.path().join("x.yaml");
    fs::write(&path, &text).unwrap();
    let error = error_of(&path);
    let expected = "generator.per_layer: 3999 layers: expected at most 65";
    assert!(error.contains(expected), "{error}");
    // The same in the configuration within a checkpoint.
    let error = parse(&text, &path).unwrap_err().to_string();
    assert!(
        error.contains("generator.per_layer: 3999: expected 0 to 5"),
        "{error}"
    );
}

#[test]
fn more_layers_than_a_cnn_can_have_are_refused_without_counting_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    fs::write(&path, format!("cnn: {{layers: {}}}\n", u64::MAX)).unwrap();
    let error = error_of(&path);
    assert!(
        error.contains("cnn.layers: 18446744073709551615: expected 0 to 64"),
        "{error}"
    );
}

#[test]
fn thousands_of_faults_and_long_values_make_no_long_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    let keys: String = (0..5000).map(|key| format!("key{key}: 1\n")).collect();
    fs::write(&path, keys).unwrap();
    assert!(error_of(&path).contains("has 100 faults"));
    let long = "9".repeat(60_000);
    fs::write(&path, format!("train: {{steps: {long}}}\n{long}: 1\n")).unwrap();
    let error = error_of(&path);
    assert!(error.len() < 4000, "{} bytes", error.len());
}

#[test]
fn aliases_that_multiply_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    let levels = (1..12).map(|level| {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("a{level}: &a{level} [{aliases}]\n")
    });
    fs::write(
        &path,
        "a0: &a0 [1]\n".to_owned() + &levels.collect::<String>(),
    )
    .unwrap();
    let error = error_of(&path);
    assert!(error.contains("repetition limit exceeded"), "{error}");
    // What is left to the reader's own limit.
    let (ones, aliases) = (vec!["1"; 10_000].join(","), vec!["*a"; 90].join(","));
    fs::write(&path, format!("a: &a [{ones}]\nb: [{aliases}]\n")).unwrap();
    let error = error_of(&path);
    assert!(error.contains("more than 100000 values"), "{error}");
    let text = "x: 1\n".repeat(20_000);
    let error = parse(&text, &path).unwrap_err().to_string();
    assert!(
        error.contains("it has 100000 bytes, expected at most 65536"),
        "{error}"
    );
}

/// A CNN that the included model writes.
fn generated(folder: &Path) -> StandaloneCnn {
    let mut command = hypertransformer();
    command.args(["generate", MODEL, "--support", SUPPORT, "--output"]);
    command.arg(folder.join("mine")).assert().success();
    model_file::read(&folder.join("mine.onnx")).unwrap()
}

/// What is done to a description, and what the refusal says.
type Change = (fn(&mut StandaloneCnn), &'static str);

const HUGE: usize = 1 << 62;
const CHANGES: [Change; 14] = [
    (|cnn| cnn.labels.clear(), "0 labels, expected 1 to 10000"),
    (
        |cnn| cnn.labels = vec![String::new(); 10_001],
        "10001 labels, expected 1 to 10000",
    ),
    (|cnn| cnn.layers.clear(), "0 layers, expected 1 to 512"),
    (
        |cnn| {
            let relu = Layer {
                name: "relu".to_owned(),
                operation: Operation::Relu,
                weights: None,
            };
            cnn.layers.splice(0..0, vec![relu; 513]);
        },
        "layers, expected 1 to 512",
    ),
    (|cnn| step(cnn, 0, 1), "does not accept an input of shape"),
    (
        |cnn| step(cnn, HUGE, 1),
        "does not accept an input of shape",
    ),
    (
        |cnn| step(cnn, 1, HUGE),
        "does not accept an input of shape",
    ),
    (
        |cnn| step(cnn, 1, usize::MAX),
        "does not accept an input of shape",
    ),
    (
        |cnn| cnn.preparation.width = 0,
        "its pictures are 1×28×0, expected 1 or 3",
    ),
    (
        |cnn| cnn.preparation.width = HUGE,
        ", expected 1 or 3 channels and sides",
    ),
    (
        |cnn| cnn.preparation.height = 1 << 53,
        ", expected 1 or 3 channels and sides",
    ),
    (
        |cnn| cnn.preparation.channels = 0,
        "its pictures are 0×28×28",
    ),
    (
        |cnn| {
            cnn.preparation.width = 1024;
            cnn.preparation.height = 1024;
            // A layer of 4096 channels for the largest picture.
            let weights = [[4096, 1, 1, 1].to_vec(), vec![4096]];
            let weights = weights.map(ndarray::ArrayD::<f32>::zeros);
            let [weight, bias] = weights;
            cnn.layers[0].weights = Some((weight, bias));
        },
        "outputs after",
    ),
    (
        |cnn| {
            let (weight, _) = cnn.layers[0].weights.as_mut().unwrap();
            weight.fill(f32::NAN);
        },
        "its weights are not finite",
    ),
];

/// Sets stride and padding of the first convolution.
fn step(cnn: &mut StandaloneCnn, stride: usize, padding: usize) {
    cnn.layers[0].operation = Operation::Convolution { stride, padding };
}

#[test]
fn descriptions_of_impossible_cnns_are_refused_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let cnn = generated(folder.path());
    for (change, expected) in CHANGES {
        let mut cnn = cnn.clone();
        change(&mut cnn);
        for (name, bytes) in [
            ("changed.onnx", onnx_bytes(&cnn)),
            ("changed.safetensors", safetensors_bytes(&cnn).unwrap()),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let error = model_file::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected} is not in:\n{error}");
            assert!(error.contains(name), "{error}");
        }
    }
    // The last of them is refused by the command as by the library.
    let mut command = hypertransformer();
    command
        .arg("classify")
        .arg(folder.path().join("changed.onnx"));
    command
        .arg(PICTURE)
        .assert()
        .code(1)
        .stderr(contains("not finite"));
}

#[test]
fn pictures_of_impossible_sizes_in_a_bundle_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(repository(MODEL)).unwrap();
    let path = folder.path().join("model.safetensors");
    for (key, value) in [("width", 1u64 << 53), ("height", 0), ("channels", 1 << 40)] {
        let changed = redescribed(&bytes, "checkpoint", |facts| {
            facts["preparation"][key] = value.into();
        });
        fs::write(&path, resealed(changed)).unwrap();
        let mut command = hypertransformer();
        command.arg("generate").arg(&path);
        command.args(["--support", SUPPORT, "--output", "nowhere"]);
        let told = contains("expected 1 or 3 channels").and(contains("model.safetensors"));
        command.assert().code(1).stderr(told);
    }
}

#[test]
fn models_too_large_for_any_memory_are_refused() {
    let large = [
        "--set=cnn.channels=4096",
        "--set=cnn.kernel_size=63",
        "--set=generator.generates=all",
        "--set=generator.query_key_fraction=16",
    ];
    let mut command = hypertransformer();
    command.args([
        "inspect",
        "experiments/synthetic.yaml",
        "--image=3x1024x1024",
    ]);
    command
        .args(large)
        .assert()
        .code(1)
        .stderr(contains("learned parameters, expected at most 2147483648"));
}
