//! What an import finds in folders and archives, and what it says about the rest.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hypertransformer::import::data_set::ImportRequest;
use hypertransformer::import::read::progress::Progress;
use hypertransformer::pack::pack::Pack;
use predicates::prelude::*;
use predicates::str::contains;

use crate::import::folders::{picture, zip_of};
use crate::import::request;

/// Imports a folder or archive as 4×4 pictures into a pack next to it: the class names with their numbers of pictures,
/// and what is told.
fn import(from: &Path, strict: bool) -> Result<(Vec<(String, usize)>, String), String> {
    let output = from.with_extension("safetensors");
    let from = [from.to_path_buf()];
    let request = ImportRequest {
        size: 4,
        strict,
        ..request("folder", &from, &output)
    };
    let told = request.run().map_err(|error| {
        assert!(!output.exists(), "an error leaves no pack");
        error.to_string()
    })?;
    let pack = Pack::open(&output).unwrap();
    let names = pack.metadata().class_names.iter().cloned();
    let sizes = (0..pack.class_count()).map(|class| pack.class_range(class).len());
    let classes = names.zip(sizes).collect();
    std::fs::remove_file(&output).unwrap();
    Ok((classes, told.join("\n")))
}

/// Class folders `cat` and `dog` of two pictures each.
fn pets(folder: &Path) -> PathBuf {
    let from = folder.join("pets");
    for name in ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"] {
        picture(&from.join(name), (4, 4), [1, 2, 3]);
    }
    from
}

fn two_pets() -> Vec<(String, usize)> {
    vec![("cat".to_owned(), 2), ("dog".to_owned(), 2)]
}

#[test]
fn folders_are_read_once_wherever_links_lead() {
    let folder = tempfile::tempdir().unwrap();
    let from = pets(folder.path());
    for (link, target) in [
        ("again", "."),
        ("once-more", "."),
        ("up", ".."),
        ("cat/down", "../dog"),
        ("kitty", "cat"),
    ] {
        symlink(target, from.join(link)).unwrap();
    }
    let (classes, told) = import(&from, false).unwrap();
    assert_eq!(classes, two_pets());
    // The folder above is read: it holds the searched one, and a pack's temporary file at most.
    assert!(
        told.contains("5 × folder that was read under another name"),
        "{told}"
    );
    // Folders outside are classes under the names of their links.
    let links = folder.path().join("links");
    std::fs::create_dir(&links).unwrap();
    for name in ["cat", "dog"] {
        symlink(from.join(name), links.join(name)).unwrap();
    }
    assert_eq!(import(&links, false).unwrap().0, two_pets());
}

#[test]
fn links_that_lead_nowhere_and_pipes_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let from = pets(folder.path());
    symlink("/nowhere/3.png", from.join("cat/3.png")).unwrap();
    symlink("round.png", from.join("dog/round.png")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(from.join("dog/4.png"))
        .status();
    assert!(made.unwrap().success());
    let (classes, told) = import(&from, false).unwrap();
    assert_eq!(classes, two_pets());
    assert!(told.contains("2 × link that leads nowhere"), "{told}");
    assert!(told.contains("1 × pipe, socket or device"), "{told}");
}

#[test]
fn a_search_can_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("many");
    std::fs::create_dir(&from).unwrap();
    for number in 0..300 {
        std::fs::write(from.join(format!("{number}.txt")), "").unwrap();
    }
    let seen = Cell::new(None);
    let output = folder.path().join("pack.safetensors");
    let from = [from];
    let request = ImportRequest {
        watch: &|progress| {
            seen.set(Some(progress));
            false
        },
        ..request("folder", &from, &output)
    };
    assert!(
        request
            .run()
            .unwrap_err()
            .to_string()
            .contains("interrupted")
    );
    assert_eq!(seen.get(), Some(Progress::Searched(256)));
}

#[test]
fn what_is_not_read_is_counted_with_the_reason_and_strict_refuses_it() {
    let folder = tempfile::tempdir().unwrap();
    let from = pets(folder.path());
    for (name, content) in [
        ("cat/3.heic", "?"),
        ("dog/3.heic", "?"),
        ("cat/notes.txt", "mine"),
        ("more.tar.bz2", "BZh"),
        ("rest.tar.gz01", "?"),
        ("dog/IMG_1", "version https://git-lfs.github.com/spec/v1\n"),
        ("Thumbs.db", "?"),
        ("@eaDir/x.txt", "?"),
    ] {
        let path = from.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let (classes, told) = import(&from, false).unwrap();
    assert_eq!(classes, two_pets());
    for part in [
        "2 × picture in the format HEIC (`",
        "1 × other file (`",
        "notes.txt`)",
        "convert it to JPEG or PNG",
        "unpack it with `tar xjf`",
        "join them with `cat",
        "1 × Git LFS pointer",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        !told.contains("Thumbs") && !told.contains("@eaDir"),
        "{told}"
    );
    let error = import(&from, true).unwrap_err();
    assert!(error.contains("2 × picture in the format HEIC"), "{error}");
    assert!(error.contains("without --strict"), "{error}");
}

#[test]
fn a_class_without_a_picture_that_can_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let from = pets(folder.path());
    std::fs::create_dir(from.join("emu")).unwrap();
    std::fs::write(from.join("emu/1.heic"), "?").unwrap();
    let error = import(&from, false).unwrap_err();
    assert!(
        error.contains("class `emu` has no picture that can be read")
            && error.contains("emu/1.heic"),
        "{error}"
    );
}

#[test]
fn pictures_are_known_by_other_extensions_and_by_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let from = pets(folder.path());
    for extension in ["bmp", "gif", "tiff", "webp"] {
        picture(&from.join(format!("dog/3.{extension}")), (4, 4), [1, 2, 3]);
    }
    picture(&from.join("dog/4.jpg"), (4, 4), [1, 2, 3]);
    std::fs::rename(from.join("dog/4.jpg"), from.join("dog/IMG_0004")).unwrap();
    std::fs::copy(from.join("dog/IMG_0004"), from.join("dog/5.jfif")).unwrap();
    let (classes, told) = import(&from, true).unwrap();
    assert_eq!(classes, [("cat".to_owned(), 2), ("dog".to_owned(), 8)]);
    assert_eq!(told, "");
}

#[test]
fn archives_in_archives_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let from = pets(folder.path());
    let packed = folder.path().join("packed");
    std::fs::create_dir(&packed).unwrap();
    zip_of(
        &packed.join("cat.zip"),
        &["1.png", "2.png"]
            .map(|name| (name, from.join("cat").join(name)))
            .each_ref()
            .map(|(name, path)| (*name, &**path)),
    );
    let dog = packed.join("dog.tar.gz");
    let gzip = flate2::write::GzEncoder::new(
        std::fs::File::create(&dog).unwrap(),
        flate2::Compression::fast(),
    );
    let mut tar = tar::Builder::new(gzip);
    tar.append_dir_all("dog", from.join("dog")).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    let outer = folder.path().join("outer.zip");
    zip_of(
        &outer,
        &[
            ("in/cat.zip", &packed.join("cat.zip")),
            ("in/dog.tar.gz", &dog),
        ],
    );
    for from in [packed.clone(), outer.clone()] {
        assert_eq!(
            import(&from, true).unwrap(),
            (two_pets(), String::new()),
            "{from:?}"
        );
    }
    let other = folder.path().join("bad.zip");
    let html = folder.path().join("page.html");
    std::fs::write(&html, "<!DOCTYPE html>").unwrap();
    zip_of(&other, &[("in/cat.zip", &html)]);
    let error = import(&other, false).unwrap_err();
    assert!(
        error.contains("bad.zip` holds the archive `in/cat`, which is an HTML page"),
        "{error}"
    );
}

#[test]
fn old_tars_are_read_and_archives_that_are_not_say_how_to_unpack_them() {
    let folder = tempfile::tempdir().unwrap();
    let from = pets(folder.path());
    let old = folder.path().join("old.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&old).unwrap());
    for name in ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"] {
        let content = std::fs::read(from.join(name)).unwrap();
        let mut header = tar::Header::new_old();
        header.set_path(name).unwrap();
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, &content[..]).unwrap();
    }
    tar.finish().unwrap();
    assert_eq!(import(&old, true).unwrap().0, two_pets());
    for (name, content, message) in [
        ("a.tar.bz2", &b"BZh91AY"[..], "unpack it with `tar xjf`"),
        ("a.tar.xz", b"\xfd7zXZ\0", "unpack it with `tar xJf`"),
        ("a.tar.gz01", b"\x1f\x8b", "join them with `cat"),
        (
            "a.tar",
            b"version https://git-lfs.github.com/spec/v1\n",
            "git lfs pull",
        ),
        (
            "a.zip",
            b"no archive",
            "is not a zip, tar or tar.gz archive",
        ),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = import(&path, false).unwrap_err();
        assert!(error.contains(name) && error.contains(message), "{error}");
    }
}

#[test]
fn backslashes_separate_folders_only_in_zips_that_have_no_other_separator() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one.png");
    picture(&one, (4, 4), [1, 2, 3]);
    let from = folder.path().join("powershell.zip");
    zip_of(
        &from,
        &[("pets\\cat\\1.png", &one), ("pets\\dog\\1.png", &one)],
    );
    let one_each = |names: [&str; 2]| names.map(|name| (name.to_owned(), 1));
    assert_eq!(import(&from, true).unwrap().0, one_each(["cat", "dog"]));
    let from = folder.path().join("other.zip");
    zip_of(
        &from,
        &[("pets/c\\at/1.png", &one), ("pets/dog/1.png", &one)],
    );
    assert_eq!(import(&from, true).unwrap().0, one_each(["c\\at", "dog"]));
    let from = folder.path().join("disk");
    for name in ["c\\at/1.png", "dog/\\1.png"] {
        picture(&from.join(name), (4, 4), [1, 2, 3]);
    }
    assert_eq!(import(&from, true).unwrap().0, one_each(["c\\at", "dog"]));
}

#[test]
fn a_renamed_entry_in_a_zips_directory_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one.png");
    picture(&one, (4, 4), [1, 2, 3]);
    let from = folder.path().join("pets.zip");
    zip_of(&from, &[("cat/1.png", &one), ("dog/1.png", &one)]);
    let mut bytes = std::fs::read(&from).unwrap();
    let place = bytes
        .windows(9)
        .rposition(|name| name == b"cat/1.png")
        .unwrap();
    bytes[place] = b'b';
    std::fs::File::create(&from)
        .unwrap()
        .write_all(&bytes)
        .unwrap();
    let error = import(&from, false).unwrap_err();
    assert!(
        error.contains("pets.zip` is cut short or damaged"),
        "{error}"
    );
}

#[test]
fn a_picture_beyond_the_limit_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let from = pets(folder.path());
    // Sparse: it takes no room.
    let huge = std::fs::File::create(from.join("cat/3.png")).unwrap();
    huge.set_len(300 << 20).unwrap();
    let error = import(&from, false).unwrap_err();
    assert!(
        error.contains("cat/3.png` has 300 MiB, expected a picture or list of at most 256 MiB"),
        "{error}"
    );
}

#[test]
fn a_full_target_is_not_taken_for_a_damaged_archive() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("pets.tar.gz");
    let mut packed = flate2::write::GzEncoder::new(
        std::fs::File::create(&from).unwrap(),
        flate2::Compression::fast(),
    );
    packed.write_all(&vec![0; 1 << 20]).unwrap();
    packed.finish().unwrap();
    let target = folder.path().join("target");
    let program = assert_cmd::cargo::cargo_bin("hypertransformer");
    // The system refuses every byte, as on a full disk.
    assert_cmd::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(program)
        .args(["data", "import", "folder", "--from"])
        .arg(&from)
        .arg("--output")
        .arg(target.join("pack.safetensors"))
        .assert()
        .code(1)
        .stderr(
            contains(format!("could not unpack into `{}`", target.display()))
                .and(contains("fetch it again").not()),
        );
}
