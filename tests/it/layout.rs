//! Imports among the files of `src/`: no circle, and no folder that knows one further down the way of the data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Each folder imports from itself and from those before it. `platform` and `cli` belong to the program, the others to
/// the library.
const FOLDERS: [&str; 16] = [
    "base", "settings", "platform", "report", "pack", "pictures", "import", "episode", "draw",
    "model", "evaluate", "run", "train", "export", "analysis", "cli",
];

/// Modules by their path, `model::cnn::block`, with the modules of `src/` that each names.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn module_of(file: &Path, root: &Path) -> String {
    let path = file.strip_prefix(root).unwrap().with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
    let parts = match parts.as_slice() {
        [folders @ .., "mod"] => folders,
        parts => parts,
    };
    parts.join("::")
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The paths after `crate::` and `hypertransformer::` in a file, groups in braces written out.
fn named(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["crate::", "hypertransformer::"] {
        for (start, _) in text.match_indices(root) {
            let before = text[..start].chars().next_back();
            if before
                .is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':')
            {
                continue;
            }
            let rest = &text[start + root.len()..];
            let end =
                rest.find(|letter: char| !(letter.is_alphanumeric() || "_:".contains(letter)));
            let (path, after) = rest.split_at(end.unwrap_or(rest.len()));
            match after
                .strip_prefix('{')
                .and_then(|group| group.split_once('}'))
            {
                Some((group, _)) => found.extend(
                    group
                        .split(',')
                        .map(|item| format!("{path}{}", item.trim())),
                ),
                None => found.push(path.to_owned()),
            }
        }
    }
    found
}

fn imports() -> Imports {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let texts: BTreeMap<String, String> = files(&root)
        .into_iter()
        .map(|file| {
            (
                module_of(&file, &root),
                std::fs::read_to_string(&file).unwrap(),
            )
        })
        .filter(|(module, _)| !["lib", "main"].contains(&module.as_str()))
        .collect();
    let module_in = |path: &str| -> Option<String> {
        let mut path = path.trim_end_matches(':');
        loop {
            if texts.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let of = |module: &String, text: &String| {
        // Unit tests may make their input with what lies above them.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let named = named(&code.join("\n"));
        let mut targets: BTreeSet<String> =
            named.iter().filter_map(|path| module_in(path)).collect();
        targets.remove(module);
        (module.clone(), targets)
    };
    texts
        .iter()
        .map(|(module, text)| of(module, text))
        .collect()
}

#[test]
fn folders_import_only_folders_that_come_before_them() {
    let place = |module: &str| {
        let folder = module.split("::").next().unwrap();
        let found = FOLDERS.iter().position(|known| *known == folder);
        found.unwrap_or_else(|| panic!("src/{folder} is not in FOLDERS of {}", file!()))
    };
    for (module, targets) in imports() {
        for target in targets {
            assert!(
                place(&target) <= place(&module),
                "{module} imports {target}"
            );
        }
    }
}

#[test]
fn imports_among_files_have_no_cycle() {
    let mut imports = imports();
    // What imports nothing that is left belongs to no circle; what remains in the end does, or leads to one.
    loop {
        let leaves: Vec<String> = imports
            .iter()
            .filter(|(_, targets)| targets.is_empty())
            .map(|(module, _)| module.clone())
            .collect();
        if leaves.is_empty() {
            break;
        }
        for leaf in &leaves {
            imports.remove(leaf);
        }
        for targets in imports.values_mut() {
            targets.retain(|target| !leaves.contains(target));
        }
    }
    assert!(imports.is_empty(), "circles among {imports:#?}");
}
