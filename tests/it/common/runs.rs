//! Trainings of the program on the glyphs, and a finished run that tests copy instead of training it again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use safetensors::SafeTensors;

use crate::common::{data_pack, glyphs, hypertransformer};

/// Number of steps that `train` takes.
pub(crate) const STEPS: u64 = 20;

/// Steps between two checkpoints of `train`.
pub(crate) const CHECKPOINT_EVERY: u64 = 8;

/// Makes a training of `train` take a single step, for tests that only need some run.
pub(crate) const ONE_STEP: [&str; 4] = ["--set", "train.steps=1", "--set", "train.warmup_steps=0"];

/// A short 5-way training of the run `run` in `folder`.
pub(crate) fn train(folder: &Path, run: &str, extra: &[&str]) -> assert_cmd::Command {
    let mut command = hypertransformer();
    command
        .args(["train", "experiments/synthetic.yaml", "--run-dir"])
        .arg(folder.join(run));
    command.args(settings()).args(extra);
    command
}

/// The settings of `train`, each after `--set`.
pub(crate) fn settings() -> Vec<String> {
    let settings = [
        &*data_pack(glyphs()),
        "episode.way=5",
        &format!("train.steps={STEPS}"),
        "train.log_every=5",
        "train.warmup_steps=5",
        &format!("train.checkpoint_every={CHECKPOINT_EVERY}"),
        "validation.every=10",
        "validation.episodes=4",
    ];
    let words = settings.iter().flat_map(|set| ["--set", *set]);
    words.map(str::to_owned).collect()
}

/// Writes the files of a finished run of `train` without further settings to `folder`; trained once per test program.
pub(crate) fn finished_run(folder: &Path, run: &str) -> PathBuf {
    static FILES: LazyLock<Vec<(PathBuf, Vec<u8>)>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        train(folder.path(), "run", &[]).assert().success();
        let root = folder.path().join("run");
        let entries = [root.clone(), root.join("checkpoints")].map(fs::read_dir);
        let paths = entries
            .into_iter()
            .flat_map(|entries| entries.unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file());
        paths
            .map(|path| {
                let bytes = fs::read(&path).unwrap();
                (path.strip_prefix(&root).unwrap().to_owned(), bytes)
            })
            .collect()
    });
    let target = folder.join(run);
    fs::create_dir_all(target.join("checkpoints")).unwrap();
    for (name, bytes) in FILES.iter() {
        fs::write(target.join(name), bytes).unwrap();
    }
    target
}

/// The bytes of a run's last checkpoint.
pub(crate) fn last_checkpoint(folder: &Path, run: &str) -> Vec<u8> {
    fs::read(folder.join(run).join("checkpoints/last.safetensors")).unwrap()
}

/// All tensors of a run's last checkpoint: φ, moving averages and the optimizer.
pub(crate) fn tensors(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(run.join("checkpoints/last.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let named = tensors.iter();
    named
        .map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec()))
        .collect()
}
