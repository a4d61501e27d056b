//! What several modules of tests share: the program, small packs, runs, models.

pub(crate) mod edited;
pub(crate) mod models;
pub(crate) mod runs;
pub(crate) mod variants;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use hypertransformer::episode::episode::{Episode, EpisodeDraw, EpisodeShape};
use hypertransformer::episode::sampler::EpisodeSampler;
use hypertransformer::import::sources::synthetic::{SyntheticOptions, write_synthetic_pack};
use hypertransformer::pack::pack::{Pack, PackMetadata};
use hypertransformer::pack::part::Part;
use hypertransformer::pack::splits::SplitScheme;
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::load;

/// A file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The program, to be run in the repository.
pub(crate) fn hypertransformer() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("hypertransformer").unwrap();
    command.current_dir(repository(""));
    command.env("XDG_CACHE_HOME", CACHE);
    command
}

/// Where the program remembers packs that it hashed, instead of the user's own folder.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

/// The same program as a command of the standard library, for tests that talk to it while it runs.
pub(crate) fn hypertransformer_process() -> std::process::Command {
    let program = assert_cmd::cargo::cargo_bin("hypertransformer");
    let mut command = std::process::Command::new(program);
    command.current_dir(repository(""));
    command.env("XDG_CACHE_HOME", CACHE);
    command
}

/// Metadata of a pack made for a test, with `split` as its only split scheme, `only`.
pub(crate) fn pack_metadata(
    name: &str,
    class_names: Vec<String>,
    split: SplitScheme,
) -> PackMetadata {
    PackMetadata {
        name: name.to_owned(),
        class_names,
        splits: BTreeMap::from([("only".to_owned(), split)]),
        default_split: "only".to_owned(),
        source: String::new(),
        licence: String::new(),
        content_hash: String::new(),
        notes: BTreeMap::new(),
    }
}

/// Writes a pack of 60 classes of glyphs drawn under `seed`.
pub(crate) fn write_glyphs(path: &Path, seed: u64) {
    let options = SyntheticOptions {
        classes: 60,
        seed,
        ..SyntheticOptions::default()
    };
    write_synthetic_pack(path, &options).unwrap();
}

/// A pack of 60 classes of glyphs that all tests read and none changes; written once per test program.
pub(crate) fn glyphs() -> &'static Path {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("glyphs.safetensors");
        write_glyphs(&path, 0);
        path
    });
    &PATH
}

/// The setting that makes an experiment use `pack`.
pub(crate) fn data_pack(pack: &Path) -> String {
    format!("data.pack={}", pack.display())
}

/// The fast preset, 5-way 1-shot, with overrides.
pub(crate) fn experiment(overrides: &[&str]) -> Experiment {
    let base = ["episode.way=5", "episode.shot=1", "episode.query=4"];
    let all: Vec<String> = base
        .iter()
        .chain(overrides)
        .map(|text| (*text).to_owned())
        .collect();
    load(&repository("experiments/synthetic.yaml"), &all).unwrap()
}

/// A sampler of the glyphs' training episodes.
pub(crate) fn glyph_sampler(shape: EpisodeShape, draw: EpisodeDraw) -> EpisodeSampler {
    let pack = Arc::new(Pack::open(glyphs()).unwrap());
    EpisodeSampler::new(pack, "default", Part::Train, shape, draw, 0).unwrap()
}

/// A sampler of the glyphs' training episodes without augmentation or unlabelled images.
pub(crate) fn sampler(way: usize, shot: usize, query: usize) -> EpisodeSampler {
    glyph_sampler(EpisodeShape::labeled(way, shot, query), EpisodeDraw::PLAIN)
}

/// The first training episodes of the glyphs, 5-way.
pub(crate) fn episodes(count: u64, shot: usize, query: usize) -> Vec<Episode> {
    let sampler = sampler(5, shot, query);
    (0..count).map(|index| sampler.episode(index)).collect()
}
