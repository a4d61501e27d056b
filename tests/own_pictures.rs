//! From a folder of pictures to a CNN and its answers, by the program: what works, and every bad input.

mod common;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assert_cmd::Command;
use common::{hypertransformer, repository};
use hypertransformer::compute::{Compute, DeviceChoice};
use hypertransformer::config::parse;
use hypertransformer::data::pack::{Pack, Part};
use hypertransformer::evaluate::{Trained, evaluate};
use hypertransformer::train::{build_model, checkpoint, evaluation_sampler};
use image::{GrayImage, ImageBuffer, Luma};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

const MODEL: &str = "models/omniglot-20way.safetensors";
const SUPPORT: &str = "examples/glyphs/support";
const QUERY: &str = "examples/glyphs/query";

fn generate(support: &Path, out: &Path) -> Command {
    let mut command = hypertransformer();
    command
        .args(["generate", MODEL, "--threads", "1", "--support"])
        .arg(support)
        .arg("--out")
        .arg(out);
    command
}

/// The examples, copied to be changed.
fn examples(folder: &Path) -> PathBuf {
    let copy = folder.join("support");
    for class in std::fs::read_dir(repository(SUPPORT)).unwrap() {
        let class = class.unwrap().path();
        let target = copy.join(class.file_name().unwrap());
        std::fs::create_dir_all(&target).unwrap();
        for file in std::fs::read_dir(&class).unwrap() {
            let file = file.unwrap().path();
            std::fs::copy(&file, target.join(file.file_name().unwrap())).unwrap();
        }
    }
    copy
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What `generate` says of examples that `change` has spoilt; nothing is to be written.
fn refusal(change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    change(&support);
    let output = generate(&support, &folder.path().join("mine"))
        .assert()
        .code(1)
        .get_output()
        .clone();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!told.contains("internal fault"), "{told}");
    assert!(output.stdout.is_empty());
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "{told}");
    told
}

#[test]
fn pictures_become_a_cnn_that_knows_their_classes() {
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
        .args([&first, text.to_str().unwrap(), "absent.png", QUERY, &last])
        .args(["--json", "--top", "2"])
        .assert()
        .code(1)
        .stderr(contains("notes.png").and(contains("absent.png")))
        .stderr(contains("3 of 5 files could not be classified"))
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
fn a_list_of_files_does_what_class_folders_do_and_classes_may_differ_in_size() {
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
    let told = contains("6 classes from 16 pictures").and(contains("of 15 right"));
    generate(&support, &one).assert().success().stdout(told);
    generate(&list, &other).assert().success();
    let bytes = |name: &Path| std::fs::read(name.with_extension("safetensors")).unwrap();
    assert!(bytes(&one) == bytes(&other));
}

#[test]
fn many_tasks_of_a_list_are_done_and_the_failed_ones_named() {
    let folder = tempfile::tempdir().unwrap();
    let support = examples(folder.path());
    let one = folder.path().join("one");
    generate(&support, &one).assert().success();
    let list = folder.path().join("tasks.jsonl");
    let lines = r#"{"support": "support", "out": "made/first"}
{"support": "absent", "out": "made/second"}
{"support": "support", "out": "made/third"}
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
    let table = folder.path().join("tasks.csv");
    std::fs::write(&table, "support,out\nsupport,made/fourth\n").unwrap();
    run(&table).assert().success();
    std::fs::write(&table, "support,out\nsupport,a\nsupport,a\n").unwrap();
    run(&table).assert().code(1).stderr(contains("a twice"));
}

#[test]
fn what_is_there_is_not_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("mine");
    std::fs::write(out.with_extension("html"), "my page").unwrap();
    generate(Path::new(SUPPORT), &out)
        .assert()
        .code(1)
        .stderr(contains("mine.html is there").and(contains("--force")));
    generate(Path::new(SUPPORT), &out)
        .arg("--force")
        .assert()
        .success();
}

#[test]
fn unicode_names_come_through() {
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
fn an_empty_folder_and_an_empty_class_are_told() {
    let told = refusal(|support| {
        std::fs::remove_dir_all(support).unwrap();
        std::fs::create_dir(support).unwrap();
    });
    assert!(told.contains("no class, expected two or more"), "{told}");
    let told = refusal(|support| std::fs::create_dir(support.join("none")).unwrap());
    assert!(told.contains("an empty class folder, `none`"), "{told}");
    let folder = tempfile::tempdir().unwrap();
    generate(&folder.path().join("absent"), &folder.path().join("mine"))
        .assert()
        .code(1)
        .stderr(contains("absent` is not there"));
}

#[test]
fn one_class_is_told() {
    let told = refusal(|support| {
        for class in std::fs::read_dir(support).unwrap().skip(1) {
            std::fs::remove_dir_all(class.unwrap().path()).unwrap();
        }
    });
    assert!(told.contains("alone, expected two or more"), "{told}");
}

#[test]
fn text_and_tiny_and_huge_and_missing_pictures_are_told_all_at_once() {
    let told = refusal(|support| {
        let class = support.join("glyph0001");
        std::fs::write(class.join("notes.txt"), "remember the milk").unwrap();
        GrayImage::new(1, 1).save(class.join("dot.png")).unwrap();
        std::fs::write(class.join("huge.bmp"), bitmap_header(20_000)).unwrap();
        std::os::unix::fs::symlink("gone.png", class.join("link.png")).unwrap();
    });
    assert!(told.contains("holds 4 files that cannot be used"), "{told}");
    assert!(told.contains("notes.txt` is no readable JPEG"), "{told}");
    assert!(
        told.contains("is 1×1 pixels, expected 4 to 16384"),
        "{told}"
    );
    assert!(told.contains("is 20000×20000 pixels"), "{told}");
    assert!(told.contains("could not read"), "{told}");
}

/// A BMP file of this many pixels a side, its pixels left out.
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
fn an_unreadable_file_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let mut readable = false;
    let told = refusal(|support| {
        let file = support.join("glyph0001/1.png");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser reads it all the same: give that one a folder in a class folder to fail on.
        readable = std::fs::read(&file).is_ok();
        if readable {
            std::fs::create_dir(support.join("glyph0001/inner")).unwrap();
        }
    });
    let expected = match readable {
        true => "a folder in a class folder",
        false => "could not read",
    };
    assert!(told.contains(expected), "{told}");
}

#[test]
fn pictures_beside_class_folders_are_told() {
    let told = refusal(|support| {
        std::fs::copy(support.join("glyph0001/1.png"), support.join("loose.png")).unwrap();
    });
    assert!(
        told.contains("loose.png") && told.contains("folder/class/picture"),
        "{told}"
    );
}

#[test]
fn classes_that_look_alike_are_told() {
    for (one, other) in [("cat", "cat "), ("caf\u{e9}", "cafe\u{301}")] {
        let told = refusal(|support| {
            std::fs::rename(support.join("glyph0001"), support.join(one)).unwrap();
            std::fs::rename(support.join("glyph0004"), support.join(other)).unwrap();
        });
        assert!(told.contains("two classes called"), "{told}");
    }
}

#[test]
fn more_classes_than_the_trained_way_say_what_to_train() {
    let told = refusal(|support| {
        for class in 0..15 {
            let folder = support.join(format!("more{class:02}"));
            std::fs::create_dir(&folder).unwrap();
            std::fs::copy(support.join("glyph0001/1.png"), folder.join("1.png")).unwrap();
        }
    });
    assert!(
        told.contains("21 classes") && told.contains("episode.way=21"),
        "{told}"
    );
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

/// As on a full disk: the system refuses every byte.
#[test]
fn a_write_that_fails_is_told_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let program = assert_cmd::cargo::cargo_bin("hypertransformer");
    Command::new("sh")
        .current_dir(repository(""))
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(program)
        .args(["generate", MODEL, "--support", SUPPORT, "--out"])
        .arg(folder.path().join("mine"))
        .assert()
        .code(1)
        .stderr(contains("could not write").and(contains("mine.onnx")));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_no_generated_cnn_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("mine");
    generate(Path::new(SUPPORT), &out).assert().success();
    let classify = |model: &Path| {
        let mut command = hypertransformer();
        command.arg("classify").arg(model);
        command.arg(format!("{QUERY}/glyph0001/4.png"));
        let output = command.assert().code(1).get_output().clone();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!told.contains("internal fault"), "{told}");
        told
    };
    assert!(classify(Path::new(MODEL)).contains("`hypertransformer generate` makes a CNN with it"));
    assert!(classify(Path::new("README.md")).contains("is no model"));
    for extension in ["onnx", "safetensors"] {
        let bytes = std::fs::read(out.with_extension(extension)).unwrap();
        let cut = folder.path().join("cut");
        for length in [0, 1, 9, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            assert!(
                classify(&cut).contains("is no model"),
                "{extension} {length}"
            );
        }
    }
}

#[test]
fn a_checkpoint_is_not_taken_for_a_bundle_nor_a_query_model_for_an_inductive_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let pack = common::small_pack(folder.path());
    let pack = format!("data.pack={}", pack.display());
    let mut train = hypertransformer();
    train.args([
        "train",
        "experiments/synthetic.yaml",
        "--quiet",
        "--run-dir",
    ]);
    train.arg(&run);
    for set in [
        &*pack,
        "episode.way=5",
        "train.steps=2",
        "train.warmup_steps=1",
        "validation.episodes=2",
        "batch_norm=query",
    ] {
        train.args(["--set", set]);
    }
    train.assert().success();
    let with = |model: &Path, extra: &[&str]| {
        let mut command = hypertransformer();
        command.arg("generate").arg(model).args(["--support"]);
        command.arg(examples(folder.path()));
        command
            .arg("--out")
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
        .args(["bundle", "--checkpoint", "last", "--out"])
        .args([&bundle, &run])
        .assert()
        .success();
    for model in [&run, &bundle] {
        with(model, &["--checkpoint", "last"])
            .code(1)
            .stderr(contains("batch_norm: query").and(contains("batch_norm: support")));
    }
    // The model is 5-way, the examples have six classes.
    let support = ["--checkpoint", "last", "--batch-norm", "support"];
    with(&run, &support)
        .code(1)
        .stderr(contains("for 5 at most"));
    std::fs::remove_dir_all(folder.path().join("support")).unwrap();
    let unlabeled = ["--unlabeled", "examples/glyphs/query/glyph0001"];
    hypertransformer()
        .args(["generate", MODEL, "--support", SUPPORT, "--out"])
        .arg(folder.path().join("mine"))
        .args(unlabeled)
        .assert()
        .code(1)
        .stderr(contains("episode.unlabeled: 1"));
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
    let saved = checkpoint::load(&model_file, model.layout(), model.buffers()).unwrap();
    let sampler = evaluation_sampler(&experiment, &pack, Part::Test, 0).unwrap();
    let compute = Compute::new(DeviceChoice::Cpu, Some(1)).unwrap();
    let trained = Trained {
        model: &model,
        phi: &saved.phi,
        buffers: &saved.buffers,
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
