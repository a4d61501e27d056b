//! What several tests need: a small synthetic pack and experiment.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hypertransformer::episode::episode::{Episode, EpisodeDraw, EpisodeShape};
use hypertransformer::episode::sampler::EpisodeSampler;
use hypertransformer::import::sources::synthetic::{SyntheticOptions, write_synthetic_pack};
use hypertransformer::model::batch::EpisodeBatch;
use hypertransformer::model::hypertransformer::{HyperTransformer, Prediction};
use hypertransformer::model::pass::Hooks;
use hypertransformer::pack::pack::{Pack, PackMetadata};
use hypertransformer::pack::part::Part;
use hypertransformer::pack::splits::SplitScheme;
use hypertransformer::settings::cnn::BatchNormMode;
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::load;
use tch::{Device, Kind, Tensor};

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The program, to be run in the repository.
pub fn hypertransformer() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("hypertransformer").unwrap();
    command.current_dir(repository(""));
    command
}

/// A short training in `folder` on a small pack.
pub fn train(folder: &Path, run: &str, extra: &[&str]) -> assert_cmd::Command {
    let pack = folder.join("synthetic.safetensors");
    if !pack.exists() {
        std::fs::rename(small_pack(folder), &pack).unwrap();
    }
    let mut command = hypertransformer();
    command
        .args(["train", "experiments/synthetic.yaml", "--run-dir"])
        .arg(folder.join(run));
    let pack = format!("data.pack={}", pack.display());
    for set in [
        &pack,
        "episode.way=5",
        "train.steps=50",
        "train.log_every=10",
        "train.warmup_steps=5",
        "train.checkpoint_every=20",
        "validation.every=25",
        "validation.episodes=10",
    ] {
        command.args(["--set", set]);
    }
    command.args(extra);
    command
}

/// The bytes of a run's last checkpoint.
pub fn checkpoint(folder: &Path, run: &str) -> Vec<u8> {
    std::fs::read(folder.join(run).join("checkpoints/last.safetensors")).unwrap()
}

/// What a pack made for a test tells of itself, with one split, `only`.
pub fn pack_metadata(name: &str, class_names: Vec<String>, split: SplitScheme) -> PackMetadata {
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
    let shape = EpisodeShape::labeled(way, shot, query);
    EpisodeSampler::new(pack, "default", Part::Train, shape, EpisodeDraw::PLAIN, 0).unwrap()
}

/// Episode 0 of the small pack, 5-way.
pub fn episode(shot: usize, query: usize) -> Episode {
    let folder = tempfile::tempdir().unwrap();
    sampler(&small_pack(folder.path()), (5, shot, query)).episode(0)
}

/// Episodes in double precision: where two ways of computing differ by rounding alone, hardly a ReLU or a pooling tips
/// over to its other side.
pub fn double_batch(episodes: &[Episode]) -> EpisodeBatch {
    let mut batch = EpisodeBatch::new(episodes, Device::Cpu);
    for images in [&mut batch.support, &mut batch.query] {
        *images = double(images);
    }
    batch
}

/// Hides samples of a batch in double precision: `seen` holds, for each task, 1 or 0 for each sample.
pub fn hide_in_double(batch: &mut EpisodeBatch, seen: &[Vec<f32>]) {
    batch.hide(seen);
    let mask = batch.support_mask.take().map(|mask| double(&mask));
    batch.support_mask = mask;
}

/// The same values in double precision.
pub fn double(values: &Tensor) -> Tensor {
    values.to_kind(Kind::Double)
}

/// A model and its φ.
pub struct Setup {
    pub model: HyperTransformer,
    pub phi: Tensor,
    pub buffers: Tensor,
}

static GENERATOR: Mutex<()> = Mutex::new(());

/// A model with noise on φ, so that nothing holds by an accident of initialisation.
pub fn setup(overrides: &[&str], noise: f64) -> Setup {
    tch::set_num_threads(1);
    let model = HyperTransformer::new(&experiment(overrides), (1, 28, 28)).unwrap();
    let phi = Tensor::from_slice(&model.layout().initial_values(0));
    // All tests of a process share libtorch's generator: seeding and drawing must not be torn apart.
    let drawing = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(1);
    let phi = &phi + phi.randn_like() * noise;
    drop(drawing);
    let buffers = Tensor::from_slice(&model.buffers().initial_values(0));
    Setup {
        model,
        phi,
        buffers,
    }
}

impl Setup {
    /// Without a gradient step: not training.
    pub fn predict(&self, episodes: &[Episode], mode: BatchNormMode) -> Prediction {
        self.predict_batch(&EpisodeBatch::new(episodes, Device::Cpu), mode)
    }

    /// The same, of a batch.
    pub fn predict_batch(&self, batch: &EpisodeBatch, mode: BatchNormMode) -> Prediction {
        let views = self.model.views(&self.phi, &self.buffers);
        self.model
            .forward(&views, batch, mode, false, Hooks::default())
    }

    /// The part of a flat vector like φ that holds this parameter.
    pub fn named(&self, flat: &Tensor, name: &str) -> Tensor {
        let specs = self.model.layout().specs();
        let index = specs.iter().position(|spec| spec.name == name).unwrap();
        let start: usize = specs[..index].iter().map(|spec| spec.len()).sum();
        let spec = &specs[index];
        flat.narrow(0, start as i64, spec.len() as i64)
            .view(&spec.shape[..])
    }
}

/// The largest difference of an element.
pub fn farthest(left: &Tensor, right: &Tensor) -> f64 {
    (left - right).abs().max().double_value(&[])
}

/// The paper's start and features.
pub const PAPER: [&str; 2] = ["initialization=paper", "generator.logits_features=embedded"];

/// Overrides of each variant of CNN and generator, to the fast preset.
pub const VARIANTS: [&[&str]; 31] = [
    &[],
    &PAPER,
    &["generator.generates=all", "generator.learned_base=true"],
    &[
        "generator.generates=last 2",
        "generator.activation_embedding=3",
    ],
    &[
        PAPER[0],
        "generator.generates=all",
        "generator.logits_features=both",
    ],
    &[
        PAPER[0],
        "generator.generates=all",
        "generator.allocation=spatial",
    ],
    &[
        PAPER[0],
        "generator.generates=layers 1 3",
        "cnn.block=[convolution, activation, pool, batch_norm]",
        "generator.generate_bias=true",
        "generator.generate_batch_norm=true",
    ],
    &[
        "generator.generates=first 2",
        "generator.generate_batch_norm=true",
        "generator.learned_base=true",
    ],
    &[
        PAPER[0],
        "generator.kind=encoder_decoder",
        "generator.generates=last 1",
    ],
    &[
        PAPER[0],
        "generator.kind=separate",
        "generator.generates=first 1",
    ],
    &[
        "generator.pre_norm=true",
        "generator.generates=all",
        "generator.learned_base=true",
    ],
    &[
        "cnn.layers=2",
        "cnn.kernel_size=9",
        "cnn.stride=4",
        "cnn.block=[convolution, batch_norm, activation]",
        "generator.generates=all",
    ],
    &[
        "cnn.pooling=average",
        "cnn.activation=leaky_relu",
        "generator.generates=last 1",
    ],
    &[
        "cnn.padding=valid",
        "cnn.layers=3",
        "cnn.stride=2",
        "cnn.head=average",
        "cnn.block=[convolution, batch_norm, activation]",
        "generator.generates=all",
    ],
    &[
        "cnn.layers=5",
        "cnn.pooled_layers=3",
        "generator.generates=last 2",
    ],
    &[
        "generator.image_embedding=0",
        "generator.inner_fraction=0",
        "generator.generates=all",
    ],
    &[
        "generator.generates=last 2",
        "generator.per_layer={3: {allocation: spatial, layers: 1}, logits: {label_dim: 16, heads: 4}}",
    ],
    &[
        "generator.image_embedding_batch_norm=false",
        "generator.generates=first 1",
    ],
    &[
        "episode.unlabeled=2",
        "episode.distractors=1",
        "generator.generates=last 1",
    ],
    &["cnn.layers=0", "generator.image_embedding=0"],
    &[
        PAPER[0],
        "generator.attention=sigmoid",
        "generator.inner_nonlinearity=leaky_relu",
        "generator.generates=last 1",
    ],
    &[
        PAPER[0],
        "generator.kind=separate",
        "generator.inner_nonlinearity=gelu",
        "generator.skip_last_nonlinearity=true",
    ],
    &[
        "generator.generates=all",
        "generator.learned_base=true",
        "generator.allocation=spatial",
    ],
    &[
        "generator.generates=last 2",
        "generator.learned_base=true",
        "generator.generate_bias=true",
        "cnn.block=[convolution, activation, pool, batch_norm]",
    ],
    &["cnn.activation=leaky_relu", "generator.generates=last 1"],
    &[
        PAPER[0],
        "generator.kind=encoder_decoder",
        "generator.pre_norm=true",
    ],
    &[
        PAPER[0],
        "generator.kind=separate",
        "generator.pre_norm=true",
    ],
    &[
        "cnn.layers=2",
        "cnn.kernel_size=9",
        "cnn.stride=4",
        "cnn.block=[convolution, batch_norm, activation]",
        "generator.generates=all",
        "generator.allocation=spatial",
    ],
    &[
        "generator.generates=all",
        "generator.learned_base=true",
        "generator.support_gradient=true",
    ],
    &[
        PAPER[0],
        "generator.kind=separate",
        "generator.generates=layers 1 3",
        "generator.learned_base=true",
        "generator.support_gradient=true",
        "generator.per_layer={1: {allocation: spatial}}",
        "cnn.block=[convolution, activation, pool, batch_norm]",
    ],
    &[
        "episode.unlabeled=2",
        "episode.distractors=1",
        "generator.generates=last 2",
        "generator.learned_base=true",
        "generator.support_gradient=true",
        "generator.generate_bias=true",
        "generator.generate_batch_norm=true",
        "cnn.block=[convolution, activation, pool, batch_norm]",
    ],
];

/// A variant with noise on φ, and three episodes of its kind.
pub fn of_variant(overrides: &[&str]) -> (Setup, Vec<Episode>) {
    let folder = tempfile::tempdir().unwrap();
    let unlabeled = overrides.contains(&"episode.unlabeled=2");
    let shape = EpisodeShape {
        way: 5,
        shot: 2,
        unlabeled: if unlabeled { 2 } else { 0 },
        distractors: usize::from(unlabeled),
        query: 3,
    };
    let pack = Arc::new(Pack::open(&small_pack(folder.path())).unwrap());
    let sampler =
        EpisodeSampler::new(pack, "default", Part::Train, shape, EpisodeDraw::PLAIN, 0).unwrap();
    let episodes = (0..3).map(|index| sampler.episode(index)).collect();
    (setup(overrides, 0.05), episodes)
}
