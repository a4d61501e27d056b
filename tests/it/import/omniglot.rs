//! The original Omniglot archives.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use hypertransformer::import::verify::verify;
use hypertransformer::pack::error::DataError;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;

use crate::import::request;

/// Imports with the defaults.
fn import_omniglot(from: &Path, output: &Path) -> Result<(), DataError> {
    request("omniglot", &[from.to_path_buf()], output)
        .run()
        .map(|_| ())
}

fn import_error(from: &Path) -> String {
    let output = from.with_file_name("pack.safetensors");
    let error = import_omniglot(from, &output).unwrap_err();
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
fn an_html_page_instead_of_an_archive_is_refused() {
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
fn a_truncated_archive_is_refused() {
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
    let names = include_str!("../../../src/import/sources/omniglot_vinyals.txt");
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
    import_omniglot(folder.path(), &output).unwrap();
    let pack = Pack::open(&output).unwrap();
    assert_eq!(pack.metadata().class_names.len(), 1623);
    assert!(pack.image(0).iter().all(|&pixel| pixel == 0));
}

#[test]
fn a_drawing_of_another_size_is_refused() {
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
    let path = crate::common::repository("../shared/data/omniglot");
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
    import_omniglot(&from, &output).unwrap();
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
