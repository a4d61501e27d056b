//! Every kind of bad input, and the error message for it.

use std::path::Path;

use assert_cmd::Command;
use hypertransformer::export::model_file::read;
use image::GrayImage;
use predicates::prelude::*;
use predicates::str::contains;

use crate::common::runs::{ONE_STEP, train};
use crate::common::{hypertransformer, repository};
use crate::own_pictures::{MODEL, QUERY, SUPPORT, examples, generate};

/// The error message of `generate` for examples that `change` has spoilt; it must write nothing.
fn refusal(change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    change(&support);
    let output = generate(&support, &folder.path().join("mine"))
        .assert()
        .code(1)
        .get_output()
        .clone();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!message.contains("internal fault"), "{message}");
    assert!(output.stdout.is_empty());
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "{message}");
    message
}

#[test]
fn an_empty_folder_and_an_empty_class_are_refused() {
    let message = refusal(|support| {
        std::fs::remove_dir_all(support).unwrap();
        std::fs::create_dir(support).unwrap();
    });
    assert!(
        message.contains("no class, expected two or more"),
        "{message}"
    );
    let message = refusal(|support| std::fs::create_dir(support.join("none")).unwrap());
    assert!(
        message.contains("an empty class folder, `none`"),
        "{message}"
    );
    let folder = tempfile::tempdir().unwrap();
    generate(&folder.path().join("absent"), &folder.path().join("mine"))
        .assert()
        .code(1)
        .stderr(contains("absent` does not exist"));
}

#[test]
fn a_single_class_is_refused() {
    let message = refusal(|support| {
        for class in std::fs::read_dir(support).unwrap().skip(1) {
            std::fs::remove_dir_all(class.unwrap().path()).unwrap();
        }
    });
    assert!(message.contains("only the class"), "{message}");
}

#[test]
fn text_and_tiny_huge_and_missing_pictures_are_reported_all_at_once() {
    let message = refusal(|support| {
        let class = support.join("glyph0001");
        std::fs::write(class.join("text.png"), "remember the milk").unwrap();
        GrayImage::new(1, 1).save(class.join("dot.png")).unwrap();
        std::fs::write(class.join("huge.bmp"), bitmap_header(20_000)).unwrap();
        std::os::unix::fs::symlink("gone.png", class.join("link.png")).unwrap();
    });
    assert!(
        message.contains("holds 4 files that cannot be used"),
        "{message}"
    );
    assert!(
        message.contains("text.png` is no readable JPEG"),
        "{message}"
    );
    assert!(
        message.contains("is 1×1 pixels, expected 4 to 16384"),
        "{message}"
    );
    assert!(message.contains("is 20000×20000 pixels"), "{message}");
    assert!(message.contains("could not read"), "{message}");
}

/// The header of a BMP file of `side` × `side` pixels, without the pixels.
fn bitmap_header(side: u32) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for number in [54 + side * side * 3, 0, 54, 40, side, side] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes
}

#[test]
fn an_unreadable_file_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let message = refusal(|support| {
        let file = support.join("glyph0001/1.png");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser reads it all the same: give that one a link to nothing.
        if std::fs::read(&file).is_ok() {
            std::fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink("gone.png", &file).unwrap();
        }
    });
    assert!(
        message.contains("could not read") && message.contains("glyph0001/1.png"),
        "{message}"
    );
}

#[test]
fn pictures_beside_class_folders_are_refused() {
    let message = refusal(|support| {
        std::fs::copy(support.join("glyph0001/1.png"), support.join("loose.png")).unwrap();
    });
    assert!(
        message.contains("loose.png") && message.contains("folder/class/picture"),
        "{message}"
    );
}

#[test]
fn classes_whose_names_look_the_same_are_refused() {
    for (one, other) in [("cat", "cat "), ("caf\u{e9}", "cafe\u{301}")] {
        let message = refusal(|support| {
            std::fs::rename(support.join("glyph0001"), support.join(one)).unwrap();
            std::fs::rename(support.join("glyph0004"), support.join(other)).unwrap();
        });
        assert!(message.contains("two classes called"), "{message}");
    }
}

#[test]
fn a_class_folder_whose_name_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let message = refusal(|support| {
        for (one, other) in [("glyph0001", b"cat\xfe"), ("glyph0004", b"cat\xff")] {
            let other = std::ffi::OsStr::from_bytes(other);
            std::fs::rename(support.join(one), support.join(other)).unwrap();
        }
    });
    assert!(
        message.contains("not UTF-8") && message.contains("rename it"),
        "{message}"
    );
}

#[test]
fn the_error_for_too_many_classes_says_what_to_train() {
    let message = refusal(|support| {
        for class in 0..15 {
            let folder = support.join(format!("more{class:02}"));
            std::fs::create_dir(&folder).unwrap();
            std::fs::copy(support.join("glyph0001/1.png"), folder.join("1.png")).unwrap();
        }
    });
    assert!(
        message.contains("21 classes") && message.contains("episode.way=21"),
        "{message}"
    );
}

/// The system refuses every byte, as on a full disk.
#[test]
fn a_failed_write_is_reported_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let program = assert_cmd::cargo::cargo_bin("hypertransformer");
    Command::new("sh")
        .current_dir(repository(""))
        .args(["-c", "ulimit -f 0; exec \"$@\"", "sh"])
        .arg(program)
        .args(["generate", MODEL, "--support", SUPPORT, "--output"])
        .arg(folder.path().join("mine"))
        .assert()
        .code(1)
        .stderr(contains("could not write").and(contains("mine")));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn files_that_are_not_generated_cnns_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("mine");
    generate(Path::new(SUPPORT), &out).assert().success();
    let classify = |model: &Path| {
        let mut command = hypertransformer();
        command.arg("classify").arg(model);
        command.arg(format!("{QUERY}/glyph0001/4.png"));
        let output = command.assert().code(1).get_output().clone();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!message.contains("internal fault"), "{message}");
        message
    };
    assert!(classify(Path::new(MODEL)).contains("use it with `hypertransformer generate`"));
    assert!(classify(Path::new("README.md")).contains("is not a CNN made by"));
    for extension in ["onnx", "safetensors"] {
        let bytes = std::fs::read(out.with_extension(extension)).unwrap();
        let cut = folder.path().join("cut");
        for length in [0, 1, 9, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            let error = read(&cut).unwrap_err().to_string();
            assert!(
                error.contains("is not a CNN made by"),
                "{extension}, {length}: {error}"
            );
        }
    }
}

#[test]
fn generate_refuses_checkpoints_and_models_with_query_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let by_query = [&ONE_STEP[..], &["--set", "batch_norm=query"]].concat();
    train(folder.path(), "run", &by_query).assert().success();
    let with = |model: &Path, extra: &[&str]| {
        let mut command = hypertransformer();
        command.arg("generate").arg(model).args(["--support"]);
        command.arg(examples(folder.path()));
        command
            .arg("--output")
            .arg(folder.path().join("mine"))
            .args(extra);
        command.assert()
    };
    let last = run.join("checkpoints/last.safetensors");
    with(&last, &[])
        .code(1)
        .stderr(contains("hypertransformer bundle"));
    let bundle = folder.path().join("bundle.safetensors");
    hypertransformer()
        .args(["bundle", "--checkpoint", "last", "--output"])
        .args([&bundle, &run])
        .assert()
        .success();
    for (model, more) in [(&run, &["--checkpoint", "last"][..]), (&bundle, &[])] {
        with(model, more)
            .code(1)
            .stderr(contains("batch_norm: query").and(contains("batch_norm: support")));
    }
    with(&bundle, &["--checkpoint", "last"])
        .code(1)
        .stderr(contains("--checkpoint: expected a run folder"));
    // The model is 5-way, the examples have six classes.
    let support = ["--checkpoint", "last", "--batch-norm", "support"];
    with(&run, &support)
        .code(1)
        .stderr(contains("for at most 5"));
    std::fs::remove_dir_all(folder.path().join("support")).unwrap();
    let unlabeled = ["--unlabeled", "examples/glyphs/query/glyph0001"];
    hypertransformer()
        .args(["generate", MODEL, "--support", SUPPORT, "--output"])
        .arg(folder.path().join("mine"))
        .args(unlabeled)
        .assert()
        .code(1)
        .stderr(contains("episode.unlabeled: 1"));
}
