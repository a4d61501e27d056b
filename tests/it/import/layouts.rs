//! Which folders become classes, and which are parts of a split.

use std::path::{Path, PathBuf};

use hypertransformer::import::data_set::ImportRequest;
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;

use crate::import::folders::{picture, zip_of};
use crate::import::{class_names, request};

/// What an import of class folders tells beside its pack.
type Told = Vec<String>;

/// What the user says about the folders.
#[derive(Clone, Copy)]
struct Wishes<'a> {
    level: Option<usize>,
    list: Option<&'a Path>,
}

/// Imports `from` into a pack next to it.
fn import(from: &Path, wishes: Wishes<'_>) -> Result<(Pack, Told), String> {
    let output = from.with_extension("safetensors");
    let from = [from.to_path_buf()];
    let request = ImportRequest {
        size: 4,
        class_level: wishes.level,
        class_split: wishes.list,
        ..request("folder", &from, &output)
    };
    let told = request.run().map_err(|error| error.to_string())?;
    Ok((Pack::open(&output).unwrap(), told))
}

const AS_IT_IS: Wishes<'_> = Wishes {
    level: None,
    list: None,
};

fn at_level(level: usize) -> Wishes<'static> {
    Wishes {
        level: Some(level),
        ..AS_IT_IS
    }
}

fn split_by(list: &Path) -> Wishes<'_> {
    Wishes {
        list: Some(list),
        ..AS_IT_IS
    }
}

/// Makes a folder of pictures of one colour.
fn tree(folder: &Path, pictures: &[&str]) -> PathBuf {
    let from = folder.join("tree");
    for name in pictures {
        picture(&from.join(name), (4, 4), [1, 2, 3]);
    }
    from
}

/// The names of all classes.
fn classes(pack: &Pack) -> Vec<&str> {
    let names = pack.metadata().class_names.iter();
    names.map(String::as_str).collect()
}

#[test]
fn folders_in_class_folders_belong_to_the_class_and_that_is_told() {
    for pictures in [
        // Of their own names, of the same names, at both levels, at different levels.
        [
            "cat/cat-1/a.png",
            "cat/cat-2/b.png",
            "dog/dog-1/a.png",
            "dog/dog-2/b.png",
        ],
        [
            "cat/morning/a.png",
            "cat/evening/b.png",
            "dog/morning/a.png",
            "dog/evening/b.png",
        ],
        ["cat/a.png", "cat/more/b.png", "dog/a.png", "dog/more/b.png"],
        ["cat/a.png", "cat/b.png", "dog/a.png", "dog/deep/er/b.png"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (pack, told) = import(&tree(folder.path(), &pictures), AS_IT_IS).unwrap();
        assert_eq!(classes(&pack), ["cat", "dog"], "{pictures:?}");
        assert_eq!(pack.image_count(), 4, "{pictures:?}");
        let [told] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(
            told.contains("classes are `cat`, `dog`") && told.contains("--class-level"),
            "{told}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let (_, told) = import(
        &tree(folder.path(), &["pics/cat/a.png", "pics/dog/a.png"]),
        AS_IT_IS,
    )
    .unwrap();
    assert!(told.is_empty(), "nothing was assumed: {told:?}");
}

#[test]
fn another_level_of_classes_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let from = tree(
        folder.path(),
        &[
            "train/a/airport/1.png",
            "train/b/bar/old/1.png",
            "test/c/crypt/1.png",
        ],
    );
    let (pack, _) = import(&from, AS_IT_IS).unwrap();
    assert_eq!(classes(&pack), ["a", "b", "c"]);
    let (pack, _) = import(&from, at_level(3)).unwrap();
    assert_eq!(class_names(&pack, Part::Train), ["airport", "bar"]);
    assert_eq!(class_names(&pack, Part::Test), ["crypt"]);
    let error = import(&from, at_level(4)).unwrap_err();
    assert!(
        error.contains("1.png lies in 3 folders, expected 4"),
        "{error}"
    );
    picture(&from.join("train/b/airport/2.png"), (4, 4), [1, 2, 3]);
    let error = import(&from, at_level(3)).unwrap_err();
    let message = "two folders of the class `airport`, `train/a/airport` and `train/b/airport`";
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_picture_beside_the_class_folders_is_refused() {
    for loose in ["1.png", "pics/1.png", "train/1.png"] {
        let folder = tempfile::tempdir().unwrap();
        let below = Path::new(loose).parent().unwrap();
        let [cat, dog] = ["cat/1.png", "dog/1.png"].map(|name| below.join(name));
        let pictures = [loose, cat.to_str().unwrap(), dog.to_str().unwrap()];
        let error = import(&tree(folder.path(), &pictures), AS_IT_IS).unwrap_err();
        assert!(error.contains(&format!("{loose} lies beside")), "{error}");
    }
}

#[test]
fn the_parts_of_a_split_are_known_by_their_usual_names() {
    for parts in [
        ["train", "val", "test"],
        ["meta_train", "meta_val", "meta_test"],
        ["training_set", "validation_set", "test_set"],
        ["base", "val", "novel"],
        ["Training", "Validation", "Testing"],
        ["TRAIN", "VALID", "TEST"],
        ["images/train", "images/dev", "images/eval"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let [train, val, test] = parts;
        let pictures = [
            format!("{train}/cat/1.png"),
            format!("{train}/dog/1.png"),
            format!("{val}/emu/1.png"),
            format!("{test}/fox/1.png"),
        ];
        let (pack, _) = import(
            &tree(folder.path(), &pictures.each_ref().map(String::as_str)),
            AS_IT_IS,
        )
        .unwrap();
        assert_eq!(pack.metadata().default_split, "folders", "{parts:?}");
        assert_eq!(class_names(&pack, Part::Train), ["cat", "dog"], "{parts:?}");
        assert_eq!(class_names(&pack, Part::Validation), ["emu"], "{parts:?}");
        assert_eq!(class_names(&pack, Part::Test), ["fox"], "{parts:?}");
    }
}

#[test]
fn folders_that_look_like_parts_stop_the_import_until_the_user_says_more() {
    let folder = tempfile::tempdir().unwrap();
    let from = tree(
        folder.path(),
        &["fold1/cat/1.png", "fold1/dog/1.png", "fold2/cat/2.png"],
    );
    let error = import(&from, AS_IT_IS).unwrap_err();
    assert!(
        error.contains("`fold1`, `fold2` look like parts of a split")
            && error.contains("--class-split"),
        "{error}"
    );
    let list = folder.path().join("split.csv");
    std::fs::write(&list, "class,split\ncat,train\ndog,test\n").unwrap();
    let (pack, _) = import(&from, split_by(&list)).unwrap();
    assert_eq!(class_names(&pack, Part::Train), ["cat"]);
    assert_eq!(pack.image_count(), 3);
    // Class folders of such names are classes.
    let folder = tempfile::tempdir().unwrap();
    let from = tree(
        folder.path(),
        &["oval/1.png", "interval/1.png", "train/1.png"],
    );
    assert_eq!(
        classes(&import(&from, AS_IT_IS).unwrap().0),
        ["interval", "oval", "train"]
    );
}

#[test]
fn a_class_in_two_parts_is_called_the_split_of_an_ordinary_classification() {
    let folder = tempfile::tempdir().unwrap();
    let from = tree(folder.path(), &["Training/cat/1.png", "Testing/cat/2.png"]);
    let error = import(&from, AS_IT_IS).unwrap_err();
    assert!(
        error.contains("`Testing/cat` and `Training/cat`")
            && error.contains("an ordinary classification"),
        "{error}"
    );
}

#[test]
fn archives_that_lie_together_are_read_together() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one.png");
    picture(&one, (4, 4), [1, 2, 3]);
    let from = folder.path().join("tree");
    // Parts of one folder, as large folders are downloaded; the first would be a wrapper on its own.
    std::fs::create_dir(&from).unwrap();
    zip_of(
        &from.join("a-001.zip"),
        &[("pics/cat/new/1.png", &one), ("pics/cat/old/2.png", &one)],
    );
    zip_of(
        &from.join("a-002.zip"),
        &[("pics/dog/1.png", &one), ("pics/cat/3.png", &one)],
    );
    let (pack, _) = import(&from, AS_IT_IS).unwrap();
    assert_eq!(classes(&pack), ["cat", "dog"]);
    assert_eq!(pack.image_count(), 4);
    // A class an archive, with and without a folder in it.
    let from = folder.path().join("other");
    std::fs::create_dir_all(from.join("train")).unwrap();
    zip_of(&from.join("train/cat.zip"), &[("1.png", &one)]);
    zip_of(&from.join("train/dog.zip"), &[("dog/1.png", &one)]);
    zip_of(&from.join("test.zip"), &[("emu/1.png", &one)]);
    let (pack, _) = import(&from, AS_IT_IS).unwrap();
    assert_eq!(class_names(&pack, Part::Train), ["cat", "dog"]);
    assert_eq!(class_names(&pack, Part::Test), ["emu"]);
}

#[test]
fn names_with_accents_match_in_either_form() {
    let folder = tempfile::tempdir().unwrap();
    let [composed, decomposed] = ["caf\u{e9}", "cafe\u{301}"];
    let from = tree(
        folder.path(),
        &[&format!("{decomposed}/1.png"), "dog/1.png"],
    );
    let list = folder.path().join("split.csv");
    std::fs::write(&list, format!("class,split\n{composed},train\ndog,test\n")).unwrap();
    let (pack, _) = import(&from, split_by(&list)).unwrap();
    assert_eq!(class_names(&pack, Part::Train), [composed]);
    picture(&from.join(composed).join("2.png"), (4, 4), [1, 2, 3]);
    for wishes in [AS_IT_IS, split_by(&list)] {
        let error = import(&from, wishes).unwrap_err();
        assert!(error.contains("two folders of the class"), "{error}");
    }
}

#[test]
fn folders_of_pictures_that_are_named_themselves_are_classes() {
    let folder = tempfile::tempdir().unwrap();
    let from = tree(folder.path(), &["cat/1.png", "cat/old/2.png", "dog/1.png"]);
    let output = folder.path().join("pack.safetensors");
    let from = ["cat", "dog"].map(|name| from.join(name));
    let request = ImportRequest {
        size: 4,
        ..request("folder", &from, &output)
    };
    request.run().unwrap();
    let pack = Pack::open(&output).unwrap();
    assert_eq!(classes(&pack), ["cat", "dog"]);
    assert_eq!(pack.image_count(), 3);
}
