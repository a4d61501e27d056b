//! What lies in folders of pictures beside the pictures.

use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;

use crate::common::{hypertransformer, repository};
use crate::own_pictures::{QUERY, SUPPORT, examples, generate, json};

/// A CNN of the examples, as ONNX.
fn cnn(folder: &Path) -> std::path::PathBuf {
    let out = folder.join("cnn");
    generate(Path::new(SUPPORT), &out).assert().success();
    out.with_extension("onnx")
}

#[test]
fn text_is_passed_over_and_counted_and_what_systems_leave_is_not_even_that() {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    std::fs::write(support.join("README.txt"), "mine").unwrap();
    let class = support.join("glyph0001");
    std::fs::write(class.join("notes.txt"), "remember the milk").unwrap();
    std::fs::write(class.join("page.html"), "<html>").unwrap();
    for left in ["thumbs.DB", "Desktop.ini", ".DS_Store", "Icon\r"] {
        std::fs::write(class.join(left), "left").unwrap();
    }
    for left in [
        "@eaDir",
        "$RECYCLE.BIN",
        "__MACOSX",
        ".Trashes",
        "lost+found",
    ] {
        for place in [&support, &class] {
            let left = place.join(left);
            std::fs::create_dir(&left).unwrap();
            std::fs::copy(class.join("1.png"), left.join("1.png")).unwrap();
        }
    }
    let out = folder.path().join("mine");
    generate(&support, &out)
        .assert()
        .success()
        .stdout(contains("6 classes from 18 pictures"))
        .stderr(contains("passed over 3 files that are no pictures").and(contains("notes.txt")));
    hypertransformer()
        .arg("evaluate-folder")
        .args([&out.with_extension("onnx"), &support])
        .assert()
        .success()
        .stdout(contains("of 18 right"))
        .stderr(contains("passed over 3 files"));
}

#[test]
fn folders_in_a_class_folder_belong_to_it_and_links_are_followed_once() {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    let class = support.join("glyph0001");
    std::fs::create_dir_all(class.join("2024/spring")).unwrap();
    std::fs::rename(class.join("1.png"), class.join("2024/spring/1.png")).unwrap();
    // None of these adds a picture: each leads to folders that are read anyway.
    let links = [
        (".", "again"),
        ("..", "above"),
        ("../glyph0004", "other"),
        ("2024", "same"),
    ];
    for (target, link) in links {
        std::os::unix::fs::symlink(target, class.join(link)).unwrap();
    }
    generate(&support, &folder.path().join("mine"))
        .assert()
        .success()
        .stdout(contains("6 classes from 18 pictures"));
}

#[test]
fn classify_takes_folders_and_sorts_what_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let cnn = cnn(folder.path());
    let classify = |path: &Path| {
        let mut command = hypertransformer();
        command.arg("classify").arg(&cnn).arg(path).assert()
    };
    let done = classify(Path::new(QUERY)).success().get_output().clone();
    let text = String::from_utf8(done.stdout).unwrap();
    let files: Vec<&str> = text
        .lines()
        .map(|line| line.split('\t').next().unwrap())
        .collect();
    assert_eq!(files.len(), 24);
    assert!(files.is_sorted());
    assert!(files.iter().all(|file| repository(file).is_file()));
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    classify(&empty)
        .code(1)
        .stderr(contains("empty holds no picture"));
}

#[test]
fn evaluate_folder_takes_one_class() {
    let folder = tempfile::tempdir().unwrap();
    let cnn = cnn(folder.path());
    let query = folder.path().join("query");
    std::fs::create_dir(&query).unwrap();
    let class = repository(QUERY).join("glyph0001");
    std::os::unix::fs::symlink(class, query.join("glyph0001")).unwrap();
    hypertransformer()
        .arg("evaluate-folder")
        .args([&cnn, &query])
        .assert()
        .success()
        .stdout(contains("4 of 4 right"));
    let result = json(&folder.path().join("cnn-evaluation.json"));
    assert_eq!(result["pictures"], 4);
    std::fs::remove_file(query.join("glyph0001")).unwrap();
    hypertransformer()
        .arg("evaluate-folder")
        .args([&cnn, &query])
        .assert()
        .code(1)
        .stderr(contains("no class, expected one or more"));
}
