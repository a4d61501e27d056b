//! Where pictures lie, as the folders that decide on their classes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::import::read::files::{FoundFile, Place};
use crate::import::sources::split_names::part_named;
use crate::pictures::kinds::archive_stem;

/// Folders whose class folders are chosen together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tree {
    /// A searched folder and what was unpacked in it.
    Folder(PathBuf),
    /// The archives that lie next to each other in this folder or archive; `None` for those that the user named.
    Archives(Option<PathBuf>),
}

impl Tree {
    /// Name of the folder or archive.
    pub(crate) fn name(&self) -> String {
        match self {
            Tree::Folder(path) | Tree::Archives(Some(path)) => file_name(path),
            Tree::Archives(None) => String::new(),
        }
    }
}

/// The folders above a file, in its tree.
pub(crate) type Folders = Vec<String>;

/// Innermost archive of a file: the container and the path of the archive in it.
type Archive<'a> = (&'a Path, &'a str);

/// Where each file lies.
pub(crate) struct Places<'a> {
    from: &'a [PathBuf],
    /// The folders at the top of each archive and searched folder; an empty name for files there.
    tops: BTreeMap<Archive<'a>, BTreeSet<&'a str>>,
}

impl<'a> Places<'a> {
    /// Learns what `files`, found in `from`, have in common.
    pub(crate) fn new(from: &'a [PathBuf], files: &'a [FoundFile]) -> Places<'a> {
        let mut tops: BTreeMap<Archive, BTreeSet<&str>> = BTreeMap::new();
        for file in files {
            let inside = &file.inner[file.innermost..];
            let top = inside.split_once('/').map_or("", |(top, _)| top);
            tops.entry(archive(file)).or_default().insert(top);
        }
        Places { from, tops }
    }

    /// The tree that a file belongs to, and the folders above it there.
    pub(crate) fn of(&self, file: &FoundFile) -> (Tree, Folders) {
        let mut inside = folders(&file.inner[file.innermost..]);
        let (tree, mut above) = if matches!(file.place, Place::Disk) {
            let above = self.named_part(&file.container);
            (Tree::Folder(file.container.to_path_buf()), above)
        } else {
            let (holder, tree, above, stem) = self.holder(file);
            if self.is_wrapped(file, &holder, &stem) {
                inside.remove(0);
            }
            (tree, above)
        };
        above.extend(inside);
        (tree, above)
    }

    /// The folder or archive that holds the innermost archive of a file; the tree and the folders of the archive's
    /// content, with its own name where that says something; and its name.
    fn holder(&self, file: &FoundFile) -> (PathBuf, Tree, Folders, String) {
        let container = &*file.container;
        let path = file.inner[..file.innermost].trim_end_matches('/');
        let root = self.from.iter().filter(|root| container.starts_with(root));
        let root = root.max_by_key(|root| root.as_os_str().len());
        let (holder, place, name) = match root {
            _ if !path.is_empty() => {
                let (place, name) = path.rsplit_once('/').unwrap_or(("", path));
                (Some(container), place.to_owned(), name.to_owned())
            }
            Some(root) if **root != *container => {
                let place = container.strip_prefix(root).unwrap_or(container);
                let place = place.parent().unwrap_or(Path::new(""));
                let place = place.to_string_lossy().into_owned();
                (Some(&**root), place, file_name(container))
            }
            _ => (None, String::new(), file_name(container)),
        };
        let stem = archive_stem(&name).to_owned();
        let at_top = self.tops[&archive(file)].contains("");
        let alone = holder.is_none() && self.from.len() == 1;
        let says_part = !alone && part_named(&stem).is_some();
        let mut above: Folders = folders(&format!("{place}/"));
        above.extend((at_top || says_part).then(|| stem.clone()));
        let tree = match (holder, place.is_empty()) {
            (Some(holder), false) => Tree::Folder(holder.to_path_buf()),
            (holder, _) => Tree::Archives(holder.map(Path::to_path_buf)),
        };
        let holder = holder.unwrap_or(Path::new("")).to_path_buf();
        (holder, tree, above, stem)
    }

    /// Whether all of an archive lies in a folder that also lies beside the archive: both were taken from there.
    fn is_wrapped(&self, file: &FoundFile, holder: &Path, stem: &str) -> bool {
        let tops = &self.tops[&archive(file)];
        let beside = self.tops.get(&(holder, ""));
        matches!((tops.first(), tops.len()), (Some(&top), 1)
            if top != stem && part_named(top).is_none() && beside.is_some_and(|beside| beside.contains(top)))
    }

    /// The name of a searched folder, if it is that of a part of the split; if it is the only one, its name says nothing.
    fn named_part(&self, root: &Path) -> Folders {
        let name = file_name(root);
        let is_part = self.from.len() > 1 && part_named(&name).is_some();
        is_part.then_some(name).into_iter().collect()
    }
}

fn archive(file: &FoundFile) -> Archive<'_> {
    (&file.container, &file.inner[..file.innermost])
}

/// The folders of a path that ends with a file's name.
fn folders(path: &str) -> Folders {
    let mut parts: Folders = path.split('/').map(str::to_owned).collect();
    parts.pop();
    parts.retain(|part| !part.is_empty() && part != ".");
    parts
}

/// The last name of a path, also of `.`.
fn file_name(path: &Path) -> String {
    let whole = path.canonicalize();
    let name = path
        .file_name()
        .or_else(|| whole.as_ref().ok()?.file_name());
    name.unwrap_or_default().to_string_lossy().into_owned()
}
