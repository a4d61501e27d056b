//! Inputs that work, among them real drawings.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypertransformer::base::compute::{Compute, DeviceChoice};
use hypertransformer::evaluate::episodes::evaluate;
use hypertransformer::model::trained::Trained;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use hypertransformer::run::assemble::{build_model, evaluation_sampler};
use hypertransformer::run::checkpoint;
use hypertransformer::settings::file::parse;
use image::{ImageBuffer, Luma};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::common::{hypertransformer, repository};
use crate::own_pictures::{MODEL, QUERY, SUPPORT, examples, generate, json};

#[test]
fn pictures_become_a_cnn_that_recognises_their_classes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("glyphs");
    generate(Path::new(SUPPORT), &out)
        .assert()
        .success()
        .stdout(contains("6 classes from 18 pictures").and(contains("of 18 right")));
    let card = json(&out.with_extension("json"));
    assert_eq!(card["classes"].as_array().unwrap().len(), 6);
    assert_eq!(card["held_out"]["pictures"], 18);
    let bytes = std::fs::metadata(out.with_extension("onnx")).unwrap().len();
    assert_eq!(card["onnx_bytes"], bytes);
    let page = std::fs::read_to_string(out.with_extension("html")).unwrap();
    assert_eq!(page.matches("<img ").count(), 18);
    for model in ["onnx", "safetensors"] {
        hypertransformer()
            .arg("evaluate-folder")
            .args([out.with_extension(model).as_path(), Path::new(QUERY)])
            .assert()
            .success()
            .stdout(contains("24 of 24 right"));
    }
    // Results of other pictures are not replaced unasked.
    hypertransformer()
        .arg("evaluate-folder")
        .args([out.with_extension("onnx").as_path(), Path::new(SUPPORT)])
        .assert()
        .code(1)
        .stderr(contains(format!("has results of {QUERY}")).and(contains("--output")));
    let result = json(&folder.path().join("glyphs-evaluation.json"));
    assert_eq!(result["confusion"][5][5], 4);
    assert!(image::open(folder.path().join("glyphs-evaluation.png")).is_ok());
}

#[test]
fn classify_prints_one_object_a_line_and_reports_wrong_files_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("glyphs");
    generate(Path::new(SUPPORT), &out).assert().success();
    let text = folder.path().join("notes.png");
    std::fs::write(&text, "not a picture").unwrap();
    let (first, last) = (
        format!("{QUERY}/glyph0001/4.png"),
        format!("{QUERY}/glyph0039/4.png"),
    );
    let output = hypertransformer()
        .arg("classify")
        .arg(out.with_extension("onnx"))
        .args([&first, text.to_str().unwrap(), "absent.png", &last])
        .args(["--json", "--top", "2"])
        .assert()
        .code(1)
        .stderr(contains("notes.png").and(contains("absent.png")))
        .stderr(contains("2 of 4 files could not be classified"))
        .get_output()
        .clone();
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for (line, (file, label)) in lines
        .iter()
        .zip([(&first, "glyph0001"), (&last, "glyph0039")])
    {
        assert_eq!(line["file"], **file);
        assert_eq!(line["label"], label);
        assert_eq!(line["top"].as_array().unwrap().len(), 2);
        assert_eq!(line["top"][0][0], label);
        assert_eq!(line["top"][0][1], line["probability"]);
    }
}

#[test]
fn light_ink_on_dark_paper_is_read_as_dark_ink_on_light() {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    let plain = folder.path().join("plain");
    generate(&support, &plain).assert().success();
    for file in glob(&support) {
        let mut picture = image::open(&file).unwrap();
        picture.invert();
        picture.save(&file).unwrap();
    }
    let turned = folder.path().join("turned");
    generate(&support, &turned).assert().success();
    let bytes = |name: &Path| std::fs::read(name.with_extension("onnx")).unwrap();
    assert!(bytes(&plain) == bytes(&turned));
    let left = folder.path().join("left");
    generate(&support, &left)
        .args(["--invert", "yes"])
        .assert()
        .success();
    assert!(bytes(&plain) != bytes(&left));
}

fn glob(support: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(support).unwrap();
    let files = folders.flat_map(|class| std::fs::read_dir(class.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_list_of_files_gives_the_cnn_of_class_folders_and_classes_may_differ_in_size() {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    std::fs::remove_file(support.join("glyph0001/1.png")).unwrap();
    std::fs::remove_file(support.join("glyph0001/2.png")).unwrap();
    let mut files = glob(&support);
    files.sort();
    let rows: Vec<String> = files
        .iter()
        .map(|file| {
            let file = file.strip_prefix(folder.path()).unwrap();
            let class = file.parent().unwrap().file_name().unwrap();
            format!("{},{}", class.to_string_lossy(), file.display())
        })
        .collect();
    let list = folder.path().join("list.csv");
    std::fs::write(&list, format!("label,file\n{}\n", rows.join("\n"))).unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let message = contains("6 classes from 16 pictures").and(contains("of 15 right"));
    generate(&support, &one).assert().success().stdout(message);
    generate(&list, &other).assert().success();
    for (row, message) in [
        (rows[0].replacen("glyph0001", "b", 1), "twice"),
        (rows[0].replacen("glyph0001", "", 1), "no label"),
    ] {
        let wrong = folder.path().join("wrong.csv");
        let right = if message == "twice" {
            &rows[..]
        } else {
            &rows[1..]
        };
        std::fs::write(&wrong, format!("label,file\n{}\n{row}\n", right.join("\n"))).unwrap();
        let nowhere = folder.path().join("nowhere");
        generate(&wrong, &nowhere)
            .assert()
            .code(1)
            .stderr(contains(message));
    }
    let bytes = |name: &Path| std::fs::read(name.with_extension("safetensors")).unwrap();
    assert!(bytes(&one) == bytes(&other));
}

#[test]
fn all_tasks_of_a_list_are_tried_and_the_failed_ones_named() {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    let one = folder.path().join("one");
    generate(&support, &one).assert().success();
    let list = folder.path().join("tasks.jsonl");
    let lines = r#"{"support": "support", "output": "made/first"}
{"support": "absent", "output": "made/second"}
{"support": "support", "output": "made/third"}
"#;
    std::fs::write(&list, lines).unwrap();
    let run = |list: &Path| {
        let mut command = hypertransformer();
        command.args(["generate", MODEL, "--list"]).arg(list);
        command
    };
    run(&list)
        .assert()
        .code(1)
        .stdout(contains("2 CNNs in").and(contains("tasks/s")))
        .stderr(contains("second").and(contains("1 of 3 tasks failed")));
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(bytes("one.onnx") == bytes("made/third.onnx"));
    // The column of outputs was named `out` in earlier versions.
    let table = folder.path().join("tasks.csv");
    std::fs::write(&table, "support,out\nsupport,made/fourth\n").unwrap();
    run(&table).assert().success();
    std::fs::write(&table, "support,output\nsupport,a\nsupport,a\n").unwrap();
    run(&table).assert().code(1).stderr(contains("a twice"));
    // By another way to the same file, too.
    std::fs::write(&table, "support,output\nsupport,a\nsupport,made/../a\n").unwrap();
    run(&table).assert().code(1).stderr(contains("a twice"));
}

#[test]
fn existing_files_are_not_overwritten_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("mine");
    generate(Path::new(SUPPORT), Path::new("nowhere/"))
        .assert()
        .code(1)
        .stderr(contains("use e.g. nowhere/mine"));
    std::fs::write(out.with_extension("html"), "my page").unwrap();
    generate(Path::new(SUPPORT), &out)
        .assert()
        .code(1)
        .stderr(contains("mine.html exists").and(contains("--force")));
    generate(Path::new(SUPPORT), &out)
        .arg("--force")
        .assert()
        .success();
}

#[test]
fn unicode_names_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    std::fs::rename(support.join("glyph0001"), support.join("字 <é> 🖋")).unwrap();
    let out = folder.path().join("письмо");
    generate(&support, &out).assert().success();
    hypertransformer()
        .arg("classify")
        .arg(out.with_extension("onnx"))
        .arg(format!("{QUERY}/glyph0001/4.png"))
        .assert()
        .success()
        .stdout(contains("字 <é> 🖋 "));
    let page = std::fs::read_to_string(out.with_extension("html")).unwrap();
    assert!(page.contains("字 &lt;é&gt; 🖋"));
}

#[test]
fn sixteen_bits_a_channel_are_read_as_eight() {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    let plain = folder.path().join("plain");
    generate(&support, &plain).assert().success();
    for file in glob(&support) {
        let eight = image::open(&file).unwrap().into_luma8();
        let deep: ImageBuffer<Luma<u16>, Vec<u16>> =
            ImageBuffer::from_fn(eight.width(), eight.height(), |x, y| {
                Luma([u16::from(eight.get_pixel(x, y).0[0]) * 257])
            });
        deep.save(&file).unwrap();
    }
    let deep = folder.path().join("deep");
    generate(&support, &deep).assert().success();
    let bytes = |name: &Path| std::fs::read(name.with_extension("onnx")).unwrap();
    assert!(bytes(&plain) == bytes(&deep));
}

/// Characters of Omniglot's evaluation alphabets, from the original drawings: the exported CNN answers as many queries
/// right as `evaluate` counts on the same episode.
#[test]
fn real_drawings_give_the_accuracy_that_evaluate_counts() {
    let archive = repository("../shared/data/omniglot/images_evaluation.zip");
    let pack = repository("data/omniglot.safetensors");
    if !archive.exists() || !pack.exists() {
        eprintln!("skipped: no Omniglot in ../shared/data and data/");
        return;
    }
    let model_file = repository(MODEL);
    let experiment = parse(&checkpoint::described(&model_file).unwrap().0, &model_file).unwrap();
    let pack = Arc::new(Pack::open(&pack).unwrap());
    let model = build_model(&experiment, &pack).unwrap();
    let saved = checkpoint::load(&model_file, &model).unwrap();
    let sampler = evaluation_sampler(&experiment, &pack, Part::Test, 0).unwrap();
    let compute = Compute::new(DeviceChoice::Cpu, Some(1)).unwrap();
    let trained = Trained {
        model: &model,
        state: &saved.model,
    };
    let mode = experiment.batch_norm;
    let records = evaluate(&compute, &trained, &sampler, 3, mode, |_| true);
    let mut archive = zip::ZipArchive::new(std::fs::File::open(archive).unwrap()).unwrap();
    let names = archive.file_names().map(|name| name.unwrap().to_string());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".png")).collect();
    names.sort();
    for record in records {
        let folder = tempfile::tempdir().unwrap();
        let plan = sampler.plan(record.episode);
        for (set, samples) in [("support", &plan.support), ("query", &plan.query)] {
            for (number, sample) in samples.iter().enumerate() {
                let class = plan.classes[sample.slot];
                let name = &pack.metadata().class_names[class];
                let drawing = sample.image - pack.class_range(class).start;
                // Slots in order, as folders are read.
                let class = format!("{:02} {}", sample.slot, name.replace('/', " "));
                let target = folder.path().join(set).join(class);
                std::fs::create_dir_all(&target).unwrap();
                let of_character = format!("images_evaluation/{name}/");
                let mut drawings = names.iter().filter(|name| name.starts_with(&of_character));
                let file = drawings.nth(drawing).unwrap();
                let mut picture = Vec::new();
                archive
                    .by_name(file)
                    .unwrap()
                    .read_to_end(&mut picture)
                    .unwrap();
                std::fs::write(target.join(format!("{number}.png")), picture).unwrap();
            }
        }
        let out = folder.path().join("mine");
        generate(&folder.path().join("support"), &out)
            .assert()
            .success();
        hypertransformer()
            .arg("evaluate-folder")
            .args([out.with_extension("onnx"), folder.path().join("query")])
            .assert()
            .success();
        let result = json(&folder.path().join("mine-evaluation.json"));
        assert_eq!(result["pictures"], 100);
        assert_eq!(result["accuracy"], record.accuracy);
    }
}
