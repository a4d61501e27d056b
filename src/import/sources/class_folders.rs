//! Which folders are classes, and which are parts of a split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use unicode_normalization::UnicodeNormalization;

use crate::import::read::files::FoundFile;
use crate::import::sources::places::{Folders, Places, Tree};
use crate::import::sources::split_names::{like_a_part, part_named};
use crate::pack::error::list_names;
use crate::pack::part::Part;

/// What the user says about the folders.
#[derive(Clone, Copy)]
pub(crate) struct Wishes {
    /// The level of the class folders, from 1.
    pub level: Option<usize>,
    /// Whether a list gives the split: folders that are parts of another one are then read as one pool.
    pub pooled: bool,
}

/// A class and the files in its folders.
pub(crate) struct ClassFolder {
    pub part: Option<Part>,
    /// The class folders, each as a tree and a path in it.
    folders: BTreeSet<(Tree, Folders)>,
    pub files: Vec<FoundFile>,
}

/// The class folders of some files.
#[derive(Default)]
pub(crate) struct ClassFolders {
    /// By the class's name in Unicode's composed form.
    pub classes: BTreeMap<String, ClassFolder>,
    /// A picture below its class folder, with its class.
    pub deeper: Option<(String, String)>,
    /// A picture beside such folders.
    loose: Option<String>,
}

/// A folder with what lies in it.
#[derive(Default)]
struct Folder {
    folders: BTreeMap<String, Folder>,
    files: Vec<FoundFile>,
}

/// Finds the class folders. In each tree they are the folders of the first level that has more than one; or the level
/// below, if these are parts of a split. What lies deeper belongs to them.
///
/// # Errors
/// If they contradict each other; the text says how, and what to do.
pub(crate) fn class_folders(
    files: Vec<FoundFile>,
    from: &[PathBuf],
    wishes: Wishes,
) -> Result<ClassFolders, String> {
    let places = Places::new(from, &files);
    let placed: Vec<(Tree, Folders)> = files.iter().map(|file| places.of(file)).collect();
    let mut found = ClassFolders::default();
    let mut trees: BTreeMap<Tree, Folder> = BTreeMap::new();
    for (file, (tree, path)) in files.into_iter().zip(placed) {
        match wishes.level {
            Some(level) => found.add_at_level(level, tree, path, file, wishes)?,
            None => trees.entry(tree).or_default().add(path, file),
        }
    }
    for (tree, folder) in trees {
        found.add_tree(&tree, folder, wishes)?;
    }
    if let (1, Some(loose)) = (found.classes.len(), &found.loose) {
        return Err(format!(
            "{loose} lies beside folders of pictures: put it into a class folder, or say with --class-level which folders \
             are classes"
        ));
    }
    Ok(found)
}

impl Folder {
    fn add(&mut self, path: Folders, file: FoundFile) {
        let mut folder = self;
        for name in path {
            folder = folder.folders.entry(name).or_default();
        }
        folder.files.push(file);
    }

    /// Whether it is a part of a split of this kind of names: class folders lie in it.
    fn is_part(&self, name: &str, named: impl Fn(&str) -> bool) -> bool {
        named(name) && !self.folders.is_empty()
    }

    /// The first folder from here, with its path below `path`, that has files or more than one folder, or whose only
    /// folder is a part of a split.
    fn unwrapped(mut self, mut path: Folders) -> (Folders, Folder) {
        while self.files.is_empty()
            && self.folders.len() == 1
            && let Some((name, only)) = self.folders.pop_first()
        {
            if only.is_part(&name, |name| part_named(name).is_some()) {
                self.folders.insert(name, only);
                break;
            }
            path.push(name);
            self = only;
        }
        (path, self)
    }

    fn into_files(self, files: &mut Vec<FoundFile>) {
        files.extend(self.files);
        for folder in self.folders.into_values() {
            folder.into_files(files);
        }
    }
}

fn parent(path: &Folders) -> Option<&[String]> {
    path.split_last().map(|(_, above)| above)
}

/// Whether all parts hold one and the same folder, which is not a class: `train/images`, `test/images`.
fn wrapped_alike(parts: &[(Folders, Option<Part>, Folder)]) -> bool {
    let only = |(_, _, folder): &(Folders, Option<Part>, Folder)| {
        let first = folder.folders.first_key_value()?;
        let wraps =
            folder.files.is_empty() && folder.folders.len() == 1 && first.1.files.is_empty();
        wraps.then(|| first.0.clone())
    };
    let first = parts.first().and_then(only);
    first.is_some() && parts.iter().all(|part| only(part) == first)
}

impl ClassFolders {
    fn add_tree(&mut self, tree: &Tree, root: Folder, wishes: Wishes) -> Result<(), String> {
        let (path, folder) = root.unwrapped(Vec::new());
        let known =
            |name: &str, folder: &Folder| folder.is_part(name, |name| part_named(name).is_some());
        let alike = |(name, folder): (&String, &Folder)| folder.is_part(name, like_a_part);
        let children = &folder.folders;
        let any_known = children.iter().any(|(name, folder)| known(name, folder));
        let look_alike = !any_known
            && children
                .values()
                .all(|folder| !folder.folders.is_empty() && folder.files.is_empty())
            && children.iter().filter(|child| alike(*child)).count() > 1;
        if look_alike && !wishes.pooled {
            return Err(format!(
                "the folders {} look like parts of a split: call them train, val and test, or say with --class-split \
                 which class belongs to which part, or with --class-level which folders are classes",
                list_names(children.keys(), 5)
            ));
        }
        if !folder.files.is_empty() {
            return self.add_class(tree, path, None, folder, wishes);
        }
        let mut parts = Vec::new();
        for (name, child) in folder.folders {
            let below = [path.clone(), vec![name.clone()]].concat();
            if known(&name, &child) || look_alike {
                parts.push((below, part_named(&name), child));
            } else {
                self.add_class(tree, below, None, child, wishes)?;
            }
        }
        while wrapped_alike(&parts) {
            for (path, _, folder) in &mut parts {
                if let Some((name, only)) = folder.folders.pop_first() {
                    path.push(name);
                    *folder = only;
                }
            }
        }
        for (path, part, folder) in parts {
            if let Some(file) = folder.files.first() {
                return Err(format!(
                    "{} lies beside the class folders of `{}`, expected it in one of them",
                    file.display(),
                    path.join("/")
                ));
            }
            for (name, child) in folder.folders {
                let below = [path.clone(), vec![name]].concat();
                self.add_class(tree, below, part, child, wishes)?;
            }
        }
        Ok(())
    }

    fn add_class(
        &mut self,
        tree: &Tree,
        path: Folders,
        part: Option<Part>,
        folder: Folder,
        wishes: Wishes,
    ) -> Result<(), String> {
        let deeper = !folder.folders.is_empty();
        let direct = folder.files.len();
        let mut files = Vec::new();
        folder.into_files(&mut files);
        if deeper && self.deeper.is_none() {
            let name = path.last().unwrap_or(&tree.name()).clone();
            self.deeper = files.get(direct).map(|file| (file.display(), name));
            self.loose = files[..direct].first().map(FoundFile::display);
        }
        self.add(tree.clone(), path, part, files, wishes)
    }

    fn add_at_level(
        &mut self,
        level: usize,
        tree: Tree,
        mut path: Folders,
        file: FoundFile,
        wishes: Wishes,
    ) -> Result<(), String> {
        if path.len() < level {
            return Err(format!(
                "{} lies in {} folders, expected {level} or more for --class-level {level}",
                file.display(),
                path.len()
            ));
        }
        path.truncate(level);
        let mut above = path[..level - 1].iter().rev();
        let part = above.find_map(|name| part_named(name));
        self.add(tree, path, part, vec![file], wishes)
    }

    fn add(
        &mut self,
        tree: Tree,
        path: Folders,
        part: Option<Part>,
        files: Vec<FoundFile>,
        wishes: Wishes,
    ) -> Result<(), String> {
        let name: String = path.last().unwrap_or(&tree.name()).nfc().collect();
        let class = self
            .classes
            .entry(name.clone())
            .or_insert_with(|| ClassFolder {
                part,
                folders: BTreeSet::new(),
                files: Vec::new(),
            });
        let here = path.join("/");
        if class.part != part
            && !wishes.pooled
            && let Some((_, other)) = class.folders.first()
        {
            let there = other.join("/");
            let [first, second] = [class.part, part].map(|part| part.map_or("no part", Part::name));
            let advice = match class.part.and(part) {
                Some(_) => {
                    "in an ordinary classification every class is in each part, but a few-shot split divides classes, not \
                     pictures; import one part alone, or all as one pool that --class-split divides"
                }
                None => "put it into one part, or import the folder of the parts alone",
            };
            return Err(format!(
                "class `{name}` is in {first} and in {second}, as `{there}` and `{here}`: {advice}"
            ));
        }
        let twin = class.folders.iter().find(|(other_tree, other)| {
            // In a pool, classes of the same name in two parts are one.
            let pooled = wishes.pooled && parent(other) != parent(&path);
            *other_tree == tree && *other != path && !pooled
        });
        if let Some((_, other)) = twin {
            return Err(format!(
                "there are two folders of the class `{name}`, `{}` and `{here}`: give them different names, or say with \
                 --class-level which folders are classes",
                other.join("/")
            ));
        }
        class.folders.insert((tree, path));
        class.files.extend(files);
        Ok(())
    }
}
