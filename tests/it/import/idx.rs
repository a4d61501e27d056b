//! Images and labels in IDX files: which go together.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use hypertransformer::import::data_set::ImportRequest;
use hypertransformer::pack::pack::Pack;

use crate::import::request;

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

/// Ten 2×2 pictures of one grey.
fn images(grey: u8) -> Vec<u8> {
    [
        &[0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 2][..],
        &[grey; 40],
    ]
    .concat()
}

/// Labels of ten pictures.
fn labels() -> Vec<u8> {
    let header = [0, 0, 8, 1, 0, 0, 0, 10];
    header.into_iter().chain(0..10).collect()
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Imports a folder to a pack next to it and opens the pack.
fn idx_pack(from: &Path) -> Result<Pack, String> {
    set_pack(from, None)
}

/// Imports one set of several.
fn set_pack(from: &Path, set: Option<&str>) -> Result<Pack, String> {
    let output = from.with_extension("safetensors");
    let from = [from.to_path_buf()];
    let request = ImportRequest {
        size: 2,
        set,
        partial: true,
        ..request("idx", &from, &output)
    };
    request.run().map_err(|error| error.to_string())?;
    Ok(Pack::open(&output).unwrap())
}

#[test]
fn files_that_are_also_gzipped_in_the_same_folder_are_imported_once() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("raw");
    for (name, bytes) in [(IMAGES, images(9)), (LABELS, labels())] {
        write(&from.join(name), &bytes);
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&bytes).unwrap();
        write(&from.join(format!("{name}.gz")), &packed.finish().unwrap());
    }
    let pack = idx_pack(&from).unwrap();
    assert_eq!((pack.class_count(), pack.image_count()), (10, 10));
}

#[test]
fn files_unpacked_into_folders_of_their_own_names_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("raw");
    write(&from.join(IMAGES).join(IMAGES), &images(9));
    write(&from.join(LABELS).join(LABELS), &labels());
    assert_eq!(idx_pack(&from).unwrap().image_count(), 10);
}

/// Kuzushiji's files are called as MNIST's.
#[test]
fn two_data_sets_whose_files_have_the_same_names_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("raw");
    for (data_set, grey) in [("kmnist", 1), ("mnist", 2)] {
        write(&from.join(data_set).join(IMAGES), &images(grey));
        write(&from.join(data_set).join(LABELS), &labels());
    }
    let error = idx_pack(&from).unwrap_err();
    let message = format!("kmnist/{IMAGES}` was also found as `");
    assert!(error.contains(&message), "{error}");
    assert!(error.contains(&format!("raw/mnist/{IMAGES}`")), "{error}");
}

#[test]
fn labels_in_another_folder_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("raw");
    write(&from.join("kmnist").join(IMAGES), &images(1));
    write(&from.join("mnist").join(LABELS), &labels());
    let error = idx_pack(&from).unwrap_err();
    let message = format!("has no `{LABELS}` next to it");
    assert!(error.contains(&message), "{error}");
}

#[test]
fn names_with_dots_as_7_zip_writes_them_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("dots");
    write(&from.join(IMAGES.replace("-idx", ".idx")), &images(9));
    write(&from.join(LABELS.replace("-idx", ".idx")), &labels());
    // The same once more, in folders of the files' names.
    write(&from.join(IMAGES).join(IMAGES), &images(9));
    write(&from.join(LABELS).join(LABELS), &labels());
    assert_eq!(idx_pack(&from).unwrap().image_count(), 10);
}

#[test]
fn one_set_of_several_in_an_archive_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("gzip.zip");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&from).unwrap());
    for (set, grey) in [("digits", 1), ("letters", 2)] {
        for (name, bytes) in [(IMAGES, images(grey)), (LABELS, labels())] {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(&bytes).unwrap();
            let name = format!("gzip/emnist-{set}-{name}.gz");
            archive
                .start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            archive.write_all(&packed.finish().unwrap()).unwrap();
        }
    }
    archive.finish().unwrap();
    let error = idx_pack(&from).unwrap_err();
    assert!(
        error.contains("`emnist-digits`, `emnist-letters`") && error.contains("--set"),
        "{error}"
    );
    for set in ["letters", "emnist-letters"] {
        assert_eq!(
            set_pack(&from, Some(set)).unwrap().image(0),
            [2; 4],
            "{set}"
        );
    }
    let error = set_pack(&from, Some("balanced")).unwrap_err();
    assert!(error.contains("there is no set `balanced`"), "{error}");
}
