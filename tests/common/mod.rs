//! What several tests need: a small synthetic pack and experiment.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypertransformer::config::experiment::Experiment;
use hypertransformer::config::load;
use hypertransformer::data::episode::{Episode, EpisodeDraw, EpisodeSampler, EpisodeShape};
use hypertransformer::data::pack::{Pack, Part};
use hypertransformer::data::synthetic::{SyntheticOptions, write_synthetic_pack};

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// 60 glyph classes in `folder`.
pub fn small_pack(folder: &Path) -> PathBuf {
    let path = folder.join("glyphs.safetensors");
    let options = SyntheticOptions {
        classes: 60,
        ..SyntheticOptions::default()
    };
    write_synthetic_pack(&path, &options).unwrap();
    path
}

/// The fast preset, 5-way 1-shot, with overrides.
pub fn experiment(overrides: &[&str]) -> Experiment {
    let base = ["episode.way=5", "episode.shot=1", "episode.query=4"];
    let all: Vec<String> = base
        .iter()
        .chain(overrides)
        .map(|text| (*text).to_owned())
        .collect();
    load(&repository("experiments/synthetic.yaml"), &all).unwrap()
}

/// A sampler of plain training episodes.
pub fn sampler(pack: &Path, (way, shot, query): (usize, usize, usize)) -> EpisodeSampler {
    let pack = Arc::new(Pack::open(pack).unwrap());
    let shape = EpisodeShape { way, shot, query };
    EpisodeSampler::new(pack, "default", Part::Train, shape, EpisodeDraw::PLAIN, 0).unwrap()
}

/// Episode 0 of the small pack, 5-way.
pub fn episode(shot: usize, query: usize) -> Episode {
    let folder = tempfile::tempdir().unwrap();
    sampler(&small_pack(folder.path()), (5, shot, query)).episode(0)
}
