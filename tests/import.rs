//! Imports: archives as they come, whole, damaged or incomplete.

mod common;

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use hypertransformer::data::import::embeddings::import_embeddings;
use hypertransformer::data::import::folders::{FolderOptions, import_folders};
use hypertransformer::data::import::known::KnownOptions;
use hypertransformer::data::import::mini_imagenet::import_mini_imagenet;
use hypertransformer::data::import::omniglot::{OmniglotOptions, import_omniglot};
use hypertransformer::data::pack::{Pack, Part};
use hypertransformer::data::verify::verify;
use ndarray::{Array1, Array2};

const OMNIGLOT: OmniglotOptions = OmniglotOptions {
    size: 28,
    split_seed: 0,
};

fn import_error(from: &Path) -> String {
    let output = from.with_file_name("pack.safetensors");
    let error = import_omniglot(&[from.to_path_buf()], &output, OMNIGLOT).unwrap_err();
    let left: Vec<_> = std::fs::read_dir(output.parent().unwrap())
        .unwrap()
        .collect();
    assert_eq!(
        left.len(),
        1,
        "a half-written pack is left behind: {left:?}"
    );
    error.to_string()
}

#[test]
fn an_html_page_instead_of_an_archive_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images_background.zip");
    std::fs::write(&path, "<!DOCTYPE html><html>quota exceeded</html>").unwrap();
    let error = import_error(&path);
    assert!(
        error.contains("HTML page") && error.contains("images_background.zip"),
        "{error}"
    );
}

#[test]
fn a_truncated_archive_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images_background.zip");
    let mut writer = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let name = "images_background/Latin/character01/1.png";
    writer
        .start_file(name, zip::write::SimpleFileOptions::default())
        .unwrap();
    writer.write_all(&[7; 4000]).unwrap();
    writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = import_error(&path);
    assert!(error.contains("cut short or damaged"), "{error}");
}

#[test]
fn a_missing_drawing_names_the_character() {
    let folder = tempfile::tempdir().unwrap();
    let character = folder
        .path()
        .join("python/images_background/Latin/character01");
    std::fs::create_dir_all(&character).unwrap();
    image::GrayImage::new(105, 105)
        .save(character.join("0001_01.png"))
        .unwrap();
    let error = import_error(&folder.path().join("python"));
    let expected = "images_background/Latin/character01 has 1 drawings, expected 20";
    assert!(error.contains(expected), "{error}");
}

/// Both archives with as many characters and drawings as there are, all blank, one of another size if asked for.
fn blank_omniglot(folder: &Path, odd_size: Option<u32>) {
    let png = |size: u32| {
        let mut bytes = Cursor::new(Vec::new());
        image::GrayImage::from_pixel(size, size, image::Luma([255]))
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    };
    let names = include_str!("../src/data/import/omniglot_vinyals.txt");
    let mut names = names.lines().map(|line| line.split_once(' ').unwrap().1);
    for (set, characters) in [("images_background", 964), ("images_evaluation", 659)] {
        let file = std::fs::File::create(folder.join(format!("{set}.zip"))).unwrap();
        let mut writer = zip::ZipWriter::new(std::io::BufWriter::new(file));
        for (index, name) in names.by_ref().take(characters).enumerate() {
            for drawing in 1..=20 {
                let odd = odd_size.filter(|_| (index, drawing) == (7, 3));
                let options = zip::write::SimpleFileOptions::default();
                writer
                    .start_file(format!("{set}/{name}/{drawing:02}.png"), options)
                    .unwrap();
                writer.write_all(&png(odd.unwrap_or(105))).unwrap();
            }
        }
        writer.finish().unwrap();
    }
}

#[test]
fn whole_archives_import_and_blank_paper_is_zero() {
    let folder = tempfile::tempdir().unwrap();
    blank_omniglot(folder.path(), None);
    let output = folder.path().join("pack.safetensors");
    import_omniglot(&[folder.path().to_path_buf()], &output, OMNIGLOT).unwrap();
    let pack = Pack::open(&output).unwrap();
    assert_eq!(pack.metadata().class_names.len(), 1623);
    assert!(pack.image(0).iter().all(|&pixel| pixel == 0));
}

#[test]
fn a_drawing_of_another_size_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let archives = folder.path().join("archives");
    std::fs::create_dir(&archives).unwrap();
    blank_omniglot(&archives, Some(104));
    let error = import_error(&archives);
    assert!(
        error.contains("03.png") && error.contains("is 104×104, expected 105×105"),
        "{error}"
    );
}

fn real_omniglot(test: &str) -> Option<PathBuf> {
    let path = common::repository("../shared/data/omniglot");
    if !path.exists() {
        eprintln!("skipped: {test}: {} is absent", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn real_omniglot_is_whole_and_its_splits_are_those_of_the_field() {
    let Some(from) = real_omniglot("real_omniglot_is_whole") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("omniglot.safetensors");
    import_omniglot(&[from], &output, OMNIGLOT).unwrap();
    let pack = Pack::open(&output).unwrap();
    assert_eq!(verify(&pack).unwrap().images, 32_460);
    let sizes = |scheme: &str| Part::ALL.map(|part| pack.split(scheme, part).unwrap().len());
    assert_eq!(sizes("paper"), [1150, 50, 423]);
    assert_eq!(sizes("vinyals"), [1028, 172, 423]);
    let [train, validation, test] = sizes("lake");
    assert_eq!((train + validation, test), (964, 659));
    // Ink is high and rare.
    let mean = |image: usize| {
        pack.image(image)
            .iter()
            .map(|&pixel| f64::from(pixel))
            .sum::<f64>()
            / 784.0
    };
    let ink = (0..1000).map(mean).sum::<f64>() / 1000.0;
    assert!((5.0..60.0).contains(&ink), "{ink}");
}

/// A picture of one colour, as JPEG or PNG by the path.
fn picture(path: &Path, size: (u32, u32), colour: [u8; 3]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let picture = image::RgbImage::from_pixel(size.0, size.1, image::Rgb(colour));
    picture.save(path).unwrap();
}

fn folder_options(split: Option<PathBuf>) -> FolderOptions {
    FolderOptions {
        name: "pictures".to_owned(),
        size: 8,
        channels: 3,
        split,
        seed: 0,
    }
}

/// Imports `from` beside it and opens the pack.
fn folders_pack(from: &Path, options: &FolderOptions) -> Result<Pack, String> {
    let output = from.with_extension("safetensors");
    import_folders(&[from.to_path_buf()], &output, options, &|_, _| true)
        .map_err(|error| error.to_string())?;
    Ok(Pack::open(&output).unwrap())
}

fn known(size: u32) -> KnownOptions<'static> {
    KnownOptions {
        size,
        partial: false,
        watch: &|_, _| true,
    }
}

fn class_names(pack: &Pack, part: Part) -> Vec<&str> {
    let scheme = &pack.metadata().default_split;
    let classes = pack.split(scheme, part).unwrap();
    let name = |&class: &usize| pack.metadata().class_names[class].as_str();
    classes.iter().map(name).collect()
}

#[test]
fn class_folders_become_a_pack_split_as_the_folders_above_say() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    picture(&from.join("train/cat/1.png"), (8, 8), [255, 0, 10]);
    picture(&from.join("train/dog/b.png"), (20, 5), [0, 90, 10]);
    picture(&from.join("train/dog/a.jpg"), (16, 16), [100, 100, 100]);
    picture(&from.join("val/emu/1.jpeg"), (8, 8), [0, 0, 0]);
    picture(&from.join("test/fox/1.png"), (8, 8), [0, 0, 0]);
    let mut watched = Vec::new();
    let watch = std::cell::RefCell::new(&mut watched);
    let output = folder.path().join("pack.safetensors");
    let options = folder_options(None);
    import_folders(&[from], &output, &options, &|done, all| {
        watch.borrow_mut().push((done, all));
        true
    })
    .unwrap();
    assert_eq!(watched, [(5, 5)]);
    let pack = Pack::open(&output).unwrap();
    assert_eq!(class_names(&pack, Part::Train), ["cat", "dog"]);
    assert_eq!(class_names(&pack, Part::Validation), ["emu"]);
    assert_eq!(class_names(&pack, Part::Test), ["fox"]);
    assert_eq!(pack.image(0), [255, 0, 10].repeat(64));
    // Files of a class by name; other sizes are squashed.
    assert_eq!(pack.image(2), [0, 90, 10].repeat(64));
}

#[test]
fn an_interrupted_import_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    picture(&from.join("cat/1.png"), (8, 8), [255, 0, 10]);
    let output = folder.path().join("pack.safetensors");
    let error = import_folders(&[from], &output, &folder_options(None), &|_, _| false);
    assert!(error.unwrap_err().to_string().contains("interrupted"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_list_gives_the_split_of_class_folders_and_its_faults_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    for class in ["ant", "bee, honey", "cow"] {
        picture(&from.join(class).join("1.png"), (8, 8), [1, 2, 3]);
    }
    let list = folder.path().join("split.csv");
    let with = |text: &str| {
        std::fs::write(&list, text).unwrap();
        folders_pack(&from, &folder_options(Some(list.clone())))
    };
    let pack = with("class,split\nant,train\n\"bee, honey\",test\ncow,val\n").unwrap();
    assert_eq!(class_names(&pack, Part::Test), ["bee, honey"]);
    for (text, told) in [
        ("class,split\nant,train\ncow,val\n", "`bee, honey`"),
        (
            "class,split\nant,train\nant,val\n",
            "names the class `ant` twice",
        ),
        (
            "class,split\nant,training\n",
            "the split `training` for `ant`",
        ),
        (
            "class,split\nant,train\n\"bee, honey\",test\ncow,val\nemu,val\n",
            "no folder: `emu`",
        ),
        ("label,part\nant,train\n", "expected `class` and `split`"),
        ("class,split\n", "has no rows"),
    ] {
        let error = with(text).unwrap_err();
        assert!(
            error.contains(told) && error.contains("split.csv"),
            "{error}"
        );
    }
}

#[test]
fn class_folders_that_cannot_be_used_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    std::fs::create_dir(&from).unwrap();
    let error = |told: &str| {
        let error = folders_pack(&from, &folder_options(None)).unwrap_err();
        assert!(error.contains(told), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    };
    error("no JPEG or PNG found");
    picture(&from.join("train/cat/1.png"), (8, 8), [1, 2, 3]);
    picture(&from.join("test/cat/2.png"), (8, 8), [1, 2, 3]);
    error("class `cat` lies in");
    std::fs::remove_dir_all(from.join("test")).unwrap();
    picture(&from.join("dog/2.png"), (8, 8), [1, 2, 3]);
    error("others do not: `dog`");
    std::fs::remove_dir_all(from.join("dog")).unwrap();
    std::fs::write(from.join("train/cat/2.png"), "no picture").unwrap();
    error("train/cat/2.png` is no readable JPEG or PNG");
}

#[test]
fn mini_imagenet_is_taken_from_folders_from_flat_files_and_by_lists() {
    let classes: Vec<&str> = include_str!("../src/data/import/mini_imagenet_ravi.txt")
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let mut png = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(2, 2, image::Rgb([9, 8, 7]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let archive = |name: &str, entries: &[String]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for entry in entries {
            writer.start_file(entry, options).unwrap();
            writer.write_all(png.get_ref()).unwrap();
        }
        writer.finish().unwrap();
        path
    };
    let entries = |name: fn(&str, usize) -> String| -> Vec<String> {
        let of_class = |class| (0..600).map(move |image| name(class, image));
        classes.iter().copied().flat_map(of_class).collect()
    };
    let output = folder.path().join("pack.safetensors");
    let import = |from: &Path| {
        import_mini_imagenet(&[from.to_path_buf()], &output, known(4))
            .map(|()| Pack::open(&output).unwrap())
            .map_err(|error| error.to_string())
    };
    let folders = entries(|class, image| format!("images/{class}/{image}.jpg"));
    let mut flat = entries(|class, image| format!("{class}{image:08}.jpg"));
    for from in [archive("folders.zip", &folders), archive("flat.zip", &flat)] {
        let pack = import(&from).unwrap();
        assert_eq!((pack.class_count(), pack.image_count()), (100, 60_000));
        let sizes = Part::ALL.map(|part| pack.split("ravi", part).unwrap().len());
        assert_eq!(sizes, [64, 16, 20]);
        assert_eq!(pack.image(59_999), [9, 8, 7].repeat(16));
    }
    // A list beside the archive names the file that is missing.
    let listed = flat.iter().map(|name| format!("{name},{}\n", &name[..9]));
    let list = "filename,label\n".to_owned() + &listed.collect::<String>();
    let missing = flat.remove(3 * 600 + 7);
    archive("listed/flat.zip", &flat);
    std::fs::write(folder.path().join("listed/train.csv"), list).unwrap();
    let error = import(&folder.path().join("listed")).unwrap_err();
    let class = classes[3];
    let told = format!("missing: `{missing}`; class {class} has 599 images, expected 600");
    assert!(error.contains(&told), "{error}");
}

#[test]
fn real_caltech_imports_with_its_list() {
    let from = common::repository("../shared/data/caltech101");
    if !from.exists() {
        eprintln!(
            "skipped: real_caltech_imports_with_its_list: {} is absent",
            from.display()
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("caltech.safetensors");
    let options = FolderOptions {
        size: 84,
        ..folder_options(Some(from.join("split_unofficial.csv")))
    };
    import_folders(&[from], &output, &options, &|_, _| true).unwrap();
    let pack = Pack::open(&output).unwrap();
    assert_eq!((pack.class_count(), pack.image_count()), (101, 8677));
    let sizes = Part::ALL.map(|part| pack.split("file", part).unwrap().len());
    assert_eq!(sizes, [65, 16, 20]);
}

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
    common::hypertransformer()
        .args(["data", "import", "embeddings", "--from"])
        .arg(&from)
        .arg("--output")
        .arg(&output)
        .assert()
        .success();
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
    common::hypertransformer()
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
    common::hypertransformer()
        .arg("evaluate")
        .arg(&run)
        .args(["--episodes", "20"])
        .assert()
        .success()
        .stdout(predicates::str::contains("accuracy 100.00"));
    // What is made for images is refused.
    for (wish, told) in [
        (
            "generator.image_embedding=8",
            "holds embeddings, not images",
        ),
        (
            "episode.rotations=per_class",
            "can be neither rotated nor jittered",
        ),
        ("cnn.layers=2", "1×1 images shrink to nothing"),
    ] {
        common::hypertransformer()
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
            .stderr(predicates::str::contains(told));
    }
}

#[test]
fn embeddings_that_cannot_be_used_are_told() {
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
    for (change, told) in changes {
        let folder = tempfile::tempdir().unwrap();
        let from = embeddings(folder.path(), change);
        let output = folder.path().join("pack.safetensors");
        let error = import_embeddings(std::slice::from_ref(&from), &output)
            .unwrap_err()
            .to_string();
        assert!(error.contains(told) && !output.exists(), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let from = embeddings(folder.path(), |_, _, _| ());
    std::fs::write(from.join("val.npz"), "<html>").unwrap();
    let error = import_embeddings(
        std::slice::from_ref(&from),
        &folder.path().join("pack.safetensors"),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("val.npz` is an HTML page"),
        "{error}"
    );
}

/// `pickle.dumps({"embeddings": np.ones((2, 1), np.float32), "labels": [0, 1]}, protocol=4)`, numpy 2.4.
const PICKLE: &str = "800495b5000000000000007d94288c0a656d62656464696e6773948c166e756d70792e5f636f72652e6d756c7469\
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
        import_embeddings(&[folder.path().to_path_buf()], &output)
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
