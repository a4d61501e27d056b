//! From a folder of pictures to a CNN and its answers, by the program.

mod folders;
mod refused;
mod used;

use std::path::{Path, PathBuf};

use crate::common::{hypertransformer, repository};
use assert_cmd::Command;
use serde_json::Value;

pub(crate) const MODEL: &str = "models/omniglot-20way.safetensors";
pub(crate) const SUPPORT: &str = "examples/glyphs/support";
pub(crate) const QUERY: &str = "examples/glyphs/query";

pub(crate) fn generate(support: &Path, out: &Path) -> Command {
    let mut command = hypertransformer();
    command
        .args(["generate", MODEL, "--threads", "1", "--support"])
        .arg(support)
        .arg("--output")
        .arg(out);
    command
}

/// Copies the examples to a folder where a test may change them.
pub(crate) fn examples(folder: &Path) -> PathBuf {
    let copy = folder.join("support");
    for class in std::fs::read_dir(repository(SUPPORT)).unwrap() {
        let class = class.unwrap().path();
        let target = copy.join(class.file_name().unwrap());
        std::fs::create_dir_all(&target).unwrap();
        for file in std::fs::read_dir(&class).unwrap() {
            let file = file.unwrap().path();
            std::fs::copy(&file, target.join(file.file_name().unwrap())).unwrap();
        }
    }
    copy
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
