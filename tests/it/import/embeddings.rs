//! Embeddings in place of pictures.

use std::path::{Path, PathBuf};

use hypertransformer::import::verify::verify;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use ndarray::{Array1, Array2};

use crate::import::{class_names, request};

/// A folder with the three files, two classes of six embeddings each, and what `change` makes of a part's arrays.
fn embeddings(folder: &Path, change: impl Fn(&str, &mut Array2<f64>, &mut Array1<i32>)) -> PathBuf {
    let folder = folder.join("embeddings");
    std::fs::create_dir_all(&folder).unwrap();
    for part in ["train", "val", "test"] {
        let mut vectors = Array2::from_shape_fn((12, 5), |(row, column)| {
            let place = if row % 2 == 0 { column } else { 4 - column };
            0.25 * place as f64
        });
        let mut labels = Array1::from_shape_fn(12, |row| (row % 2) as i32 + 70);
        change(part, &mut vectors, &mut labels);
        let file = std::fs::File::create(folder.join(format!("{part}.npz"))).unwrap();
        let mut writer = ndarray_npy::NpzWriter::new_compressed(file);
        writer.add_array("embeddings", &vectors).unwrap();
        writer.add_array("labels", &labels).unwrap();
        writer.finish().unwrap();
    }
    folder
}

#[test]
fn embeddings_are_imported_as_they_are_trained_on_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let from = embeddings(folder.path(), |_, _, _| ());
    let output = folder.path().join("tiered-imagenet-leo.safetensors");
    let import = |more: &[&str]| {
        let mut command = crate::common::hypertransformer();
        command.args(["data", "import", "embeddings", "--from"]);
        command.arg(&from).arg("--output").arg(&output).args(more);
        command.assert()
    };
    import(&[]).success();
    let written = std::fs::metadata(&output).unwrap().modified().unwrap();
    import(&[])
        .code(1)
        .stderr(predicates::str::contains("hint: replace it with --force"));
    let kept = std::fs::metadata(&output).unwrap().modified().unwrap();
    assert_eq!(kept, written);
    import(&["--force"]).success();
    let pack = Pack::open(&output).unwrap();
    verify(&pack).unwrap();
    assert_eq!(class_names(&pack, Part::Test), ["test/70", "test/71"]);
    // The first class has the even rows.
    let expected: Vec<u8> = (0..5)
        .flat_map(|column| (0.25 * column as f32).to_le_bytes())
        .collect();
    assert_eq!(pack.image(1), expected);
    let run = folder.path().join("run");
    let set = |more: &'static str| ["--set", more];
    crate::common::hypertransformer()
        .args([
            "train",
            "experiments/appendix_d/tiered-imagenet-1shot-leo.yaml",
        ])
        .arg("--run-dir")
        .arg(&run)
        .args(["--set", &format!("data.pack={}", output.display())])
        .args(set("episode.way=2"))
        .args(set("episode.query=3"))
        .args(set("episode.evaluation_query=3"))
        .args(set("train.steps=100"))
        .args(set("train.optimizer=adamw"))
        .args(set("initialization=gradient_step"))
        .args(set("validation.episodes=4"))
        .assert()
        .success();
    // Alike within a class: nothing is easier.
    crate::common::hypertransformer()
        .arg("evaluate")
        .arg(&run)
        .args(["--episodes", "20"])
        .assert()
        .success()
        .stdout(predicates::str::contains("accuracy 100.00"));
    // What is made for images is refused.
    for (wish, message) in [
        (
            "generator.image_embedding=8",
            "holds embeddings, not images",
        ),
        (
            "episode.rotations=per_class",
            "embeddings cannot be augmented",
        ),
        ("cnn.layers=2", "too many for 1×1 images"),
    ] {
        crate::common::hypertransformer()
            .args([
                "train",
                "experiments/appendix_d/tiered-imagenet-1shot-leo.yaml",
            ])
            .arg("--run-dir")
            .arg(folder.path().join("refused"))
            .args(["--set", &format!("data.pack={}", output.display())])
            .args(["--set", "episode.way=2", "--set", "episode.query=3"])
            .args(["--set", "episode.evaluation_query=3", "--set", wish])
            .assert()
            .failure()
            .stderr(predicates::str::contains(message));
    }
}

#[test]
fn embeddings_that_cannot_be_used_are_refused() {
    type Change = fn(&str, &mut Array2<f64>, &mut Array1<i32>);
    let changes: [(Change, &str); 3] = [
        (
            |part, _, labels| {
                if part == "val" {
                    *labels = Array1::zeros(11);
                }
            },
            "12 embeddings and 11 labels",
        ),
        (
            |part, vectors, _| {
                if part == "test" {
                    *vectors = Array2::zeros((12, 4));
                }
            },
            "embeddings of 4 numbers, expected 5",
        ),
        (
            |_, vectors, _| vectors[[3, 2]] = f64::NAN,
            "not finite in embedding 3",
        ),
    ];
    for (change, message) in changes {
        let folder = tempfile::tempdir().unwrap();
        let from = embeddings(folder.path(), change);
        let output = folder.path().join("pack.safetensors");
        let error = request("embeddings", std::slice::from_ref(&from), &output)
            .run()
            .unwrap_err()
            .to_string();
        assert!(error.contains(message) && !output.exists(), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let from = embeddings(folder.path(), |_, _, _| ());
    std::fs::write(from.join("val.npz"), "<html>").unwrap();
    let output = folder.path().join("pack.safetensors");
    let error = request("embeddings", std::slice::from_ref(&from), &output)
        .run()
        .unwrap_err();
    assert!(
        error.to_string().contains("val.npz` is an HTML page"),
        "{error}"
    );
}

/// `pickle.dumps({"embeddings": np.ones((2, 1), np.float32), "labels": [0, 1]}, protocol=4)`, numpy 2.4.
pub(crate) const PICKLE: &str = "800495b5000000000000007d94288c0a656d62656464696e6773948c166e756d70792e5f636f72652e6d756c7469\
    6172726179948c0c5f7265636f6e7374727563749493948c056e756d7079948c076e6461727261799493944b0085944301629487945294284b01\
    4b024b01869468058c0564747970659493948c02663494898887945294284b038c013c944e4e4e4affffffff4affffffff4b0074946289430800\
    00803f0000803f947494628c066c6162656c73945d94284b004b0165752e";

#[test]
fn no_change_of_a_pickle_makes_the_reader_panic() {
    let whole: Vec<u8> = (0..PICKLE.len() / 2)
        .map(|place| u8::from_str_radix(&PICKLE[2 * place..2 * place + 2], 16).unwrap())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train_embeddings.pkl");
    // Nothing is ever written: the next part is empty.
    std::fs::write(folder.path().join("val_embeddings.pkl"), "").unwrap();
    std::fs::write(folder.path().join("test_embeddings.pkl"), "").unwrap();
    let error = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let output = folder.path().join("pack.safetensors");
        request("embeddings", &[folder.path().to_path_buf()], &output)
            .run()
            .unwrap_err()
            .to_string()
    };
    assert!(error(&whole).contains("val_embeddings.pkl` is empty"));
    for length in 1..whole.len() {
        let error = error(&whole[..length]);
        assert!(
            error.contains("train_embeddings.pkl` is cut short"),
            "{error}"
        );
    }
    for place in 0..whole.len() {
        for other in [0, 0xff, b'(', b'2', b'b', b'e', b'R', whole[place] ^ 1] {
            let mut changed = whole.clone();
            changed[place] = other;
            error(&changed);
        }
    }
}

/// The error for a folder whose training embeddings are this pickle.
fn error_of_pickle(content: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for part in ["train", "val", "test"] {
        let path = folder.path().join(format!("{part}_embeddings.pkl"));
        std::fs::write(path, content).unwrap();
    }
    let output = folder.path().join("pack.safetensors");
    let from = [folder.path().to_path_buf()];
    let error = request("embeddings", &from, &output).run().unwrap_err();
    error.to_string()
}

#[test]
fn pickles_that_grow_in_memory_are_refused() {
    // Five million times None: in a list, a tuple, and left on the stack; five million empty lists and marks.
    const MANY: usize = 5_000_000;
    for (start, byte, end) in [
        (&b"\x80\x04]("[..], b'N', &b"e."[..]),
        (b"\x80\x04(", b'N', b"t."),
        (b"\x80\x04", b'N', b"."),
        (b"\x80\x04", b']', b"."),
        (b"\x80\x04", b'(', b"."),
    ] {
        let error = error_of_pickle(&[start, &vec![byte; MANY], end].concat());
        assert!(error.contains("has more than 4194304 values"), "{error}");
    }
}

#[test]
fn pickles_that_decode_the_same_text_for_ever_are_refused() {
    let mut pickle = b"\x80\x02c_codecs\nencode\nq\0X\0\0\x10\0".to_vec();
    pickle.extend(vec![b'a'; 1 << 20]);
    pickle.extend(b"q\x01X\x06\0\0\0latin1q\x02");
    // Each time: the function, the text and the encoding, called.
    pickle.extend(b"h\0h\x01h\x02\x86R0".repeat(100_000));
    pickle.extend(b"N.");
    let error = error_of_pickle(&pickle);
    assert!(
        error.contains("decodes the same bytes again and again"),
        "{error}"
    );
}
