//! What was changed or damaged after it was written is refused: checkpoints, bundles, generated CNNs, packs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::common::edited::{numbers, redescribed, resealed, without_whole_hash};
use crate::common::runs::{ONE_STEP, finished_run, train};
use crate::common::{data_pack, hypertransformer, repository, write_glyphs};
use hypertransformer::export::model_file;
use hypertransformer::export::standalone::StandaloneCnn;
use hypertransformer::model::hypertransformer::HyperTransformer;
use hypertransformer::pack::pack::Pack;
use hypertransformer::run::checkpoint;
use hypertransformer::settings::file::load;
use hypertransformer::settings::model::ModelOptions;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

const MODEL: &str = "models/omniglot-20way.safetensors";
const SUPPORT: &str = "examples/glyphs/support";
const PICTURE: &str = "examples/glyphs/query/glyph0001/4.png";

/// How many bits of each file are turned, one at a time.
const FLIPS: usize = 300;

/// A CNN that the included model writes, as ONNX and safetensors in `folder`.
fn generated(folder: &Path) -> [PathBuf; 2] {
    let mut command = hypertransformer();
    command.args(["generate", MODEL, "--support", SUPPORT, "--output"]);
    command.arg(folder.join("mine")).assert().success();
    ["onnx", "safetensors"].map(|kind| folder.join("mine").with_extension(kind))
}

fn bundled(run: &Path) -> PathBuf {
    let bundle = run.with_file_name("bundle.safetensors");
    let mut command = hypertransformer();
    command.arg("bundle").arg(run).arg("--output").arg(&bundle);
    command.assert().success();
    bundle
}

/// The file with one bit turned, put beside it.
fn flipped(path: &Path, bytes: &[u8], bit: usize) -> PathBuf {
    let mut changed = bytes.to_vec();
    changed[bit / 8] ^= 1 << (bit % 8);
    let name = format!("flipped-{}", path.file_name().unwrap().display());
    let path = path.with_file_name(name);
    fs::write(&path, changed).unwrap();
    path
}

/// Turns bits of a file all over it, every bit of its first bytes among them, and expects `read` to refuse each by name.
fn refuses_every_flip(path: &Path, read: impl Fn(&Path) -> Result<(), String>) {
    let bytes = fs::read(path).unwrap();
    read(path).unwrap();
    let anywhere = numbers(7).map(|number| (number % (8 * bytes.len() as u64)) as usize);
    for bit in (0..64).chain(anywhere.take(FLIPS)) {
        let changed = flipped(path, &bytes, bit);
        let error = read(&changed).expect_err(&format!("bit {bit} of {}", path.display()));
        assert!(error.contains(changed.to_str().unwrap()), "{error}");
    }
}

#[test]
fn one_turned_bit_in_a_checkpoint_a_bundle_or_a_generated_cnn_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    let experiment = load(&run.join("config.yaml"), &[]).unwrap();
    let image = Pack::open(&experiment.data.pack).unwrap().shape().into();
    let model = HyperTransformer::new(&ModelOptions::from(&experiment), image).unwrap();
    let load = |path: &Path| {
        let loaded = checkpoint::load(path, &model);
        loaded.map(|_| ()).map_err(|error| error.to_string())
    };
    refuses_every_flip(&run.join("checkpoints/best.safetensors"), load);
    refuses_every_flip(&bundled(&run), load);
    for path in generated(folder.path()) {
        refuses_every_flip(&path, |path| {
            let read = model_file::read(path);
            read.map(|_| ()).map_err(|error| error.to_string())
        });
    }
}

#[test]
fn commands_check_what_they_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = finished_run(folder.path(), "run");
    let turn = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        // The lowest bit of the last number.
        fs::rename(flipped(path, &bytes, 8 * (bytes.len() - 4)), path).unwrap();
    };
    let bundle = bundled(&run);
    let [onnx, safetensors] = generated(folder.path());
    let checkpoints =
        ["last", "best"].map(|name| run.join(format!("checkpoints/{name}.safetensors")));
    for path in [&bundle, &onnx, &safetensors]
        .into_iter()
        .chain(&checkpoints)
    {
        turn(path);
    }
    let refused = |mut command: assert_cmd::Command, path: &Path| {
        let named = contains(path.file_name().unwrap().to_str().unwrap());
        let told = named.and(contains("differ from its checksum"));
        command.assert().code(1).stderr(told);
    };
    refused(train(folder.path(), "run", &["--resume"]), &checkpoints[0]);
    let mut evaluate = hypertransformer();
    evaluate.arg("evaluate").arg(&run).args(["--episodes", "2"]);
    refused(evaluate, &checkpoints[1]);
    let mut generate = hypertransformer();
    generate.arg("generate").arg(&bundle);
    generate.args(["--support", SUPPORT, "--output", "nowhere"]);
    refused(generate, &bundle);
    for path in [&onnx, &safetensors] {
        let mut classify = hypertransformer();
        classify.arg("classify").arg(path).arg(PICTURE);
        refused(classify, path);
    }
}

#[test]
fn files_of_the_version_without_checksums_are_read_but_no_later_file_passes_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(repository(MODEL)).unwrap();
    let path = folder.path().join("model.safetensors");
    let described = |bytes: Vec<u8>| {
        fs::write(&path, bytes).unwrap();
        checkpoint::described(&path).map_err(|error| error.to_string())
    };
    let version = |version: u32, sealed: bool| {
        redescribed(&bytes, "checkpoint", |facts: &mut Value| {
            facts["format_version"] = version.into();
            if !sealed {
                facts.as_object_mut().unwrap().remove("checksum");
            }
        })
    };
    assert_eq!(
        described(version(1, false)).unwrap(),
        described(bytes.clone()).unwrap()
    );
    let error = described(version(1, true)).unwrap_err();
    assert!(error.contains("differ from its checksum"), "{error}");
    let error = described(version(2, false)).unwrap_err();
    assert!(error.contains("lost its checksum"), "{error}");
    let error = described(version(3, false)).unwrap_err();
    assert!(error.contains("format version 3"), "{error}");
    // The same of a generated CNN.
    let [_, safetensors] = generated(folder.path());
    let read = |bytes: Vec<u8>| -> Result<StandaloneCnn, String> {
        fs::write(&path, bytes).unwrap();
        model_file::read(&path).map_err(|error| error.to_string())
    };
    let bytes = fs::read(safetensors).unwrap();
    let without = |version: u32| {
        redescribed(&bytes, "cnn", |description| {
            description["format_version"] = version.into();
            description.as_object_mut().unwrap().remove("checksum");
        })
    };
    let (old, new) = (read(without(1)).unwrap(), read(bytes.clone()).unwrap());
    assert_eq!(old.layers, new.layers);
    let error = read(without(2)).unwrap_err();
    assert!(error.contains("lost its checksum"), "{error}");
    assert_eq!(read(resealed(bytes.clone())).unwrap(), new);
}

type Change = fn(&mut Value);

/// What is done to the description of a pack whose pixels stay.
const CHANGES: [(&str, Change); 4] = [
    ("train and test swapped", |pack| {
        let split = &mut pack["splits"]["default"];
        let train = split["train"].take();
        split["train"] = split["test"].take();
        split["test"] = train;
    }),
    ("a class moved to test", |pack| {
        let split = &mut pack["splits"]["default"];
        let class = split["train"].as_array_mut().unwrap().pop().unwrap();
        split["test"].as_array_mut().unwrap().push(class);
    }),
    ("two names exchanged", |pack| {
        pack["class_names"].as_array_mut().unwrap().swap(0, 1);
    }),
    ("another note", |pack| {
        pack["notes"]["seed"] = "another".into();
    }),
];

fn verify(pack: &Path) -> assert_cmd::assert::Assert {
    let mut command = hypertransformer();
    command.args(["data", "verify"]).arg(pack).assert()
}

#[test]
fn a_pack_whose_splits_names_or_notes_were_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack.safetensors");
    write_glyphs(&path, 0);
    let own = data_pack(&path);
    let own = [&ONE_STEP[..], &["--set", &own]].concat();
    train(folder.path(), "run", &own).assert().success();
    verify(&path)
        .success()
        .stdout(contains("class names, splits and notes: as hashed"));
    let bytes = fs::read(&path).unwrap();
    for (what, change) in CHANGES {
        fs::write(&path, redescribed(&bytes, "pack", change)).unwrap();
        let told = contains("is damaged: its class names, splits, notes or sizes are not those");
        verify(&path).code(1).stderr(told.clone());
        let mut evaluate = hypertransformer();
        evaluate.arg("evaluate").arg(folder.path().join("run"));
        evaluate.assert().code(1).stderr(told.clone());
        let resume = [&["--resume"], &own[..]].concat();
        train(folder.path(), "run", &resume)
            .assert()
            .code(1)
            .stderr(told.clone());
        let other = format!("other {what}");
        train(folder.path(), &other, &own)
            .assert()
            .code(1)
            .stderr(told);
    }
}

#[test]
fn pixels_that_were_changed_in_place_are_found_when_a_run_starts_resumes_or_evaluates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack.safetensors");
    write_glyphs(&path, 0);
    let own = data_pack(&path);
    let own = [&ONE_STEP[..], &["--set", &own]].concat();
    train(folder.path(), "run", &own).assert().success();
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 28 * 28 * 20..].fill(0);
    fs::write(&path, bytes).unwrap();
    // As if nothing had happened to it.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(times)
        .unwrap();
    let told = contains("is damaged: its contents hash to");
    verify(&path).code(1).stderr(told.clone());
    for command in [&["evaluate"][..], &["analyze", "adaptation"]] {
        let mut program = hypertransformer();
        program.args(command).arg(folder.path().join("run"));
        program.assert().code(1).stderr(told.clone());
    }
    for (run, how) in [
        ("run", &["--resume"][..]),
        ("new", &[]),
        ("run", &["--force"]),
    ] {
        train(folder.path(), run, &[how, &own[..]].concat())
            .assert()
            .code(1)
            .stderr(told.clone());
    }
}

#[test]
fn a_pack_is_hashed_once_and_again_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack.safetensors");
    write_glyphs(&path, 0);
    let own = data_pack(&path);
    let own = [&ONE_STEP[..], &["--set", &own]].concat();
    let cache = folder.path().join("cache");
    let with_cache = |mut command: assert_cmd::Command| {
        command.env("XDG_CACHE_HOME", &cache);
        command
    };
    with_cache(train(folder.path(), "run", &own))
        .assert()
        .success();
    let memory = cache.join("hypertransformer/packs.json");
    let remembered = fs::read_to_string(&memory).unwrap();
    assert!(remembered.contains(path.to_str().unwrap()));
    // A memory that claims more than was hashed shows where it is believed: nothing else tells.
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let facts = fs::metadata(&path).unwrap();
    let mut entries: Value = serde_json::from_str(&remembered).unwrap();
    {
        use std::os::unix::fs::MetadataExt;
        entries[0]["times"] = vec![
            facts.mtime(),
            facts.mtime_nsec(),
            facts.ctime(),
            facts.ctime_nsec(),
        ]
        .into();
    }
    fs::write(&memory, entries.to_string()).unwrap();
    let force = [&["--force"], &own[..]].concat();
    with_cache(train(folder.path(), "run", &force))
        .assert()
        .success();
    with_cache(train(
        folder.path(),
        "run",
        &[&["--verify"], &force[..]].concat(),
    ))
    .assert()
    .code(1)
    .stderr(contains("is damaged: its contents hash to"));
}

#[test]
fn a_pack_of_an_earlier_version_is_used_and_verify_says_what_is_not_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack.safetensors");
    write_glyphs(&path, 0);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, without_whole_hash(&bytes)).unwrap();
    verify(&path).success().stdout(contains(
        "class names, splits and notes: not hashed by the earlier version that wrote the pack",
    ));
    let own = data_pack(&path);
    let own = [&ONE_STEP[..], &["--set", &own]].concat();
    train(folder.path(), "run", &own).assert().success();
}
