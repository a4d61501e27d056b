//! Where the pack of a run is, if the run or the pack was moved: it is recognised by its contents.

use std::path::{Path, PathBuf, absolute};

use crate::pack::pack::Pack;
use crate::run::error::RunError;
use crate::run::folder::RunFolder;

/// Folder of packs, in the current folder or in one that contains the run.
const DATA: &str = "data";
/// How the names of packs end.
const ENDING: &str = "safetensors";

/// The pack of the run in the folder `run`: `named`, the one that its configuration names, if there is such a file.
/// Otherwise another file with the images and splits that `run.json` records. It is looked for where the pack was when the
/// run started, in `data/` of the current folder, and, for each folder that contains the run, in `data/` there and where
/// `named` is relative to it. Only headers are read.
///
/// # Errors
/// [`RunError::NoPack`] if there is none, [`RunError::Facts`] if `run.json` cannot be read.
pub fn find_pack(named: &Path, run: &Path) -> Result<PathBuf, RunError> {
    if named.exists() {
        return Ok(named.to_path_buf());
    }
    let folder = RunFolder::at(run);
    let record = folder.record()?;
    let recorded = record.sessions.iter().rev();
    let places = places(named, recorded.map(|session| session.pack.as_path()), run);
    let is_it = |path: &PathBuf| {
        Pack::open(path).is_ok_and(|pack| {
            record.pack["content_hash"] == *pack.metadata().content_hash
                && folder.check_pack(&pack).is_ok()
        })
    };
    let found = places.iter().flat_map(|place| packs(place)).find(is_it);
    found.ok_or_else(|| {
        let names: Vec<String> = places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        RunError::NoPack {
            pack: named.to_path_buf(),
            run: run.to_path_buf(),
            searched: match names.is_empty() {
                true => format!("`{DATA}`: there is no such folder here or above the run"),
                false => names.join(", "),
            },
        }
    })
}

/// The folders to search, each once.
fn places<'a>(named: &Path, recorded: impl Iterator<Item = &'a Path>, run: &Path) -> Vec<PathBuf> {
    let beside = |path: &Path| path.parent().map(Path::to_path_buf);
    let mut places: Vec<PathBuf> = recorded.filter_map(beside).collect();
    places.extend([beside(named), Some(DATA.into())].into_iter().flatten());
    // A link to a run stands for the run: its data lies with the run, not with the link.
    let run = run.canonicalize().or_else(|_| absolute(run));
    for folder in run.unwrap_or_default().ancestors() {
        places.extend(beside(&folder.join(named)));
        places.push(folder.join(DATA));
    }
    let mut searched: Vec<PathBuf> = Vec::new();
    for place in places.iter().filter_map(|place| absolute(place).ok()) {
        if place.is_dir() && !searched.contains(&place) {
            searched.push(place);
        }
    }
    searched
}

/// The files of a folder that may be packs, in the order of their names.
fn packs(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut packs: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == ENDING))
        .collect();
    packs.sort();
    packs
}
