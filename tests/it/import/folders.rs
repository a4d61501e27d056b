//! Class folders, mini-ImageNet among them.

use std::cell::Cell;
use std::fs::File;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use hypertransformer::import::data_set::ImportRequest;
use hypertransformer::import::read::progress::Progress;
use hypertransformer::pack::error::DataError;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;

use crate::import::{class_names, request};

/// A picture of one colour, as JPEG or PNG by the path.
fn picture(path: &Path, size: (u32, u32), colour: [u8; 3]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let picture = image::RgbImage::from_pixel(size.0, size.1, image::Rgb(colour));
    picture.save(path).unwrap();
}

/// Imports class folders as 8×8 pictures, with a list of classes if there is one.
fn import_folders(
    from: &[PathBuf],
    output: &Path,
    class_split: Option<&Path>,
) -> Result<(), DataError> {
    let request = ImportRequest {
        size: 8,
        class_split,
        ..request("folder", from, output)
    };
    request.run()
}

/// Imports `from` to a pack next to it and opens the pack.
fn folders_pack(from: &Path, class_split: Option<&Path>) -> Result<Pack, String> {
    let output = from.with_extension("safetensors");
    import_folders(&[from.to_path_buf()], &output, class_split)
        .map_err(|error| error.to_string())?;
    Ok(Pack::open(&output).unwrap())
}

/// Imports mini-ImageNet as 4×4 pictures.
fn import_mini_imagenet(from: &[PathBuf], output: &Path, partial: bool) -> Result<(), DataError> {
    let request = ImportRequest {
        size: 4,
        partial,
        ..request("mini-imagenet", from, output)
    };
    request.run()
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
    let record = |progress| {
        watch.borrow_mut().push(progress);
        true
    };
    let from = [from];
    let request = ImportRequest {
        size: 8,
        watch: &record,
        ..request("folder", &from, &output)
    };
    request.run().unwrap();
    assert_eq!(watched, [Progress::Written(5, 5)]);
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
    let from = [from];
    let request = ImportRequest {
        watch: &|_| false,
        ..request("folder", &from, &output)
    };
    assert!(
        request
            .run()
            .unwrap_err()
            .to_string()
            .contains("interrupted")
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_import_interrupted_while_it_unpacks_stops_there_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("pictures.tar.gz");
    let mut packed = GzEncoder::new(File::create(&from).unwrap(), Compression::fast());
    packed.write_all(&vec![0; 10 << 20]).unwrap();
    packed.finish().unwrap();
    let output = folder.path().join("pack.safetensors");
    let message = Cell::new(None);
    let record = |progress| {
        message.set(Some(progress));
        false
    };
    let from = [from];
    let request = ImportRequest {
        watch: &record,
        ..request("folder", &from, &output)
    };
    assert!(request.run().is_err());
    assert!(matches!(message.get(), Some(Progress::Unpacked(bytes)) if bytes < 10 << 20));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_list_gives_the_split_of_class_folders_and_its_errors_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    for class in ["ant", "bee, honey", "cow"] {
        picture(&from.join(class).join("1.png"), (8, 8), [1, 2, 3]);
    }
    let list = folder.path().join("split.csv");
    let with = |text: &str| {
        std::fs::write(&list, text).unwrap();
        folders_pack(&from, Some(&list))
    };
    let pack = with("class,split\nant,train\n\"bee, honey\",test\ncow,val\n").unwrap();
    assert_eq!(class_names(&pack, Part::Test), ["bee, honey"]);
    for (text, message) in [
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
            error.contains(message) && error.contains("split.csv"),
            "{error}"
        );
    }
}

#[test]
fn class_folders_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    std::fs::create_dir(&from).unwrap();
    let error = |message: &str| {
        let error = folders_pack(&from, None).unwrap_err();
        assert!(error.contains(message), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    };
    error("nothing found; expected JPEG, PNG");
    picture(&from.join("train/cat/1.png"), (8, 8), [1, 2, 3]);
    picture(&from.join("test/cat/2.png"), (8, 8), [1, 2, 3]);
    error("class `cat` is in");
    std::fs::remove_dir_all(from.join("test")).unwrap();
    picture(&from.join("dog/2.png"), (8, 8), [1, 2, 3]);
    error("others are not: `dog`");
    std::fs::remove_dir_all(from.join("dog")).unwrap();
    picture(&from.join("train/pets/cat/1.png"), (8, 8), [1, 2, 3]);
    error("two folders of the class `cat`, `train/cat` and `train/pets/cat`");
    std::fs::remove_dir_all(from.join("train/pets")).unwrap();
    std::fs::write(from.join("train/cat/2.png"), "no picture").unwrap();
    error("train/cat/2.png` is no readable JPEG, PNG");
}

#[test]
fn several_folders_or_archives_called_as_parts_split_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let [train, val, test] = ["train", "val", "test.zip"].map(|name| folder.path().join(name));
    let output = folder.path().join("pack.safetensors");
    let import = |from: &[&PathBuf]| {
        let from: Vec<PathBuf> = from.iter().copied().cloned().collect();
        import_folders(&from, &output, None)
            .map(|()| Pack::open(&output).unwrap())
            .map_err(|error| error.to_string())
    };
    picture(&train.join("cat/1.png"), (8, 8), [1, 2, 3]);
    picture(&train.join("dog/1.png"), (8, 8), [1, 2, 3]);
    picture(&val.join("emu/1.png"), (8, 8), [1, 2, 3]);
    zip_of(&test, &[("fox/1.png", &train.join("cat/1.png"))]);
    let pack = import(&[&train, &val, &test]).unwrap();
    assert_eq!(pack.metadata().default_split, "folders");
    assert_eq!(class_names(&pack, Part::Train), ["cat", "dog"]);
    assert_eq!(class_names(&pack, Part::Validation), ["emu"]);
    assert_eq!(class_names(&pack, Part::Test), ["fox"]);
    // Alone, its name is no split.
    let pack = import(&[&train]).unwrap();
    assert_eq!(pack.metadata().default_split, "seeded");
    picture(&val.join("cat/2.png"), (8, 8), [1, 2, 3]);
    let error = import(&[&train, &val]).unwrap_err();
    let message = "class `cat` is in train and in validation";
    assert!(error.contains(message), "{error}");
}

#[test]
fn transparent_places_of_pictures_are_white() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    std::fs::create_dir_all(from.join("cat")).unwrap();
    let mut glass = image::RgbaImage::new(8, 8);
    glass.put_pixel(0, 0, image::Rgba([9, 8, 7, 255]));
    glass.save(from.join("cat/1.png")).unwrap();
    let pack = folders_pack(&from, None).unwrap();
    let (first, others) = pack.image(0).split_at(3);
    assert_eq!(first, [9, 8, 7]);
    assert!(others.iter().all(|&pixel| pixel == 255), "{others:?}");
}

#[test]
fn names_of_class_folders_that_are_not_utf_8_are_told() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    let cat = from.join(std::ffi::OsStr::from_bytes(b"cat\xff"));
    picture(&cat.join("1.png"), (8, 8), [1, 2, 3]);
    let archive = folder.path().join("tree.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    tar.append_dir_all("tree", &from).unwrap();
    tar.finish().unwrap();
    // Whether found below it, in it, or named itself.
    for from in [from, cat.clone(), cat.join("1.png"), archive] {
        let output = folder.path().join("pack.safetensors");
        let error = import_folders(&[from], &output, None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("not UTF-8") && error.contains("rename it"),
            "{error}"
        );
        assert!(!output.exists());
    }
}

/// Zip archive of files, by their names in it.
fn zip_of(path: &Path, files: &[(&str, &Path)]) {
    let mut writer = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, file) in files {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(&std::fs::read(file).unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn pictures_both_packed_and_unpacked_are_imported_once_and_others_of_the_same_name_too() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("tree");
    let [one, two] = ["train/pets/cat/1.png", "train/pets/cat/2.png"].map(|name| from.join(name));
    picture(&one, (8, 8), [1, 2, 3]);
    picture(&two, (8, 8), [4, 5, 6]);
    let other = folder.path().join("other.png");
    picture(&other, (8, 8), [7, 8, 9]);
    let files = [("train/cat/1.png", &*one), ("train/cat/2.png", &*other)];
    zip_of(&from.join("tree.zip"), &files);
    let pack = folders_pack(&from, None).unwrap();
    assert_eq!(class_names(&pack, Part::Train), ["cat"]);
    let mut colours: Vec<&[u8]> = (0..pack.image_count())
        .map(|n| &pack.image(n)[..3])
        .collect();
    colours.sort();
    assert_eq!(colours, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]);
}

#[test]
fn mini_imagenet_takes_what_lists_name_in_their_order_wherever_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let (images, lists) = (folder.path().join("images"), folder.path().join("lists"));
    for (name, value) in [("a", 10), ("b", 20), ("c", 30)] {
        picture(&images.join(format!("{name}.png")), (4, 4), [value; 3]);
    }
    let list = lists.join("train.csv");
    std::fs::create_dir(&lists).unwrap();
    std::fs::write(&list, "filename,label\nc.png,n01532829\na.png,n01532829\n").unwrap();
    let both = folder.path().join("both/deep");
    std::fs::create_dir_all(&both).unwrap();
    let file = |name: &str| images.join(name);
    let (a, b, c) = (file("a.png"), file("b.png"), file("c.png"));
    let files = [
        ("x/a.png", &*a),
        ("x/b.png", &*b),
        ("x/c.png", &*c),
        ("y/train.csv", &*list),
    ];
    zip_of(&both.join("all.zip"), &files);
    for from in [
        vec![images.clone(), list.clone()],
        vec![folder.path().join("both")],
    ] {
        let output = folder.path().join("pack.safetensors");
        import_mini_imagenet(&from, &output, true).unwrap();
        let pack = Pack::open(&output).unwrap();
        let values: Vec<u8> = (0..pack.image_count()).map(|n| pack.image(n)[0]).collect();
        assert_eq!(values, [30, 10], "{from:?}");
    }
}

#[test]
fn mini_imagenet_is_taken_from_folders_from_flat_files_and_by_lists() {
    let classes: Vec<&str> = include_str!("../../../src/import/sources/mini_imagenet_ravi.txt")
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
        import_mini_imagenet(&[from.to_path_buf()], &output, false)
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
    // A list next to the archive names the file that is missing.
    let listed = flat.iter().map(|name| format!("{name},{}\n", &name[..9]));
    let list = "filename,label\n".to_owned() + &listed.collect::<String>();
    let missing = flat.remove(3 * 600 + 7);
    archive("listed/flat.zip", &flat);
    std::fs::write(folder.path().join("listed/train.csv"), list).unwrap();
    let error = import(&folder.path().join("listed")).unwrap_err();
    let class = classes[3];
    let message = format!("missing: `{missing}`; class {class} has 599 images, expected 600");
    assert!(error.contains(&message), "{error}");
}

#[test]
fn real_caltech_imports_with_its_list() {
    let from = crate::common::repository("../shared/data/caltech101");
    if !from.exists() {
        eprintln!(
            "skipped: real_caltech_imports_with_its_list: {} is absent",
            from.display()
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("caltech.safetensors");
    let list = from.join("split_unofficial.csv");
    import_folders(&[from], &output, Some(&list)).unwrap();
    let pack = Pack::open(&output).unwrap();
    assert_eq!((pack.class_count(), pack.image_count()), (101, 8677));
    let sizes = Part::ALL.map(|part| pack.split("file", part).unwrap().len());
    assert_eq!(sizes, [65, 16, 20]);
}
