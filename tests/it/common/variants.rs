//! The variants of CNN and generator that properties of the model are tested on.

use hypertransformer::episode::episode::{Episode, EpisodeDraw, EpisodeShape};

use crate::common::glyph_sampler;
use crate::common::models::{Setup, setup};

/// A way to set up CNN and generator.
pub(crate) struct Variant {
    /// What failures and files of a comparison call it.
    pub(crate) name: &'static str,
    /// What it changes in the fast preset, 5-way.
    pub(crate) overrides: &'static [&'static str],
}

/// The paper's initialisation and features.
pub(crate) const PAPER: [&str; 2] = ["initialization=paper", "generator.logits_features=embedded"];

/// Every variant, under its name.
pub(crate) const VARIANTS: [Variant; 31] = [
    Variant {
        name: "fast",
        overrides: &[],
    },
    Variant {
        name: "paper",
        overrides: &PAPER,
    },
    Variant {
        name: "all-with-learned-base",
        overrides: &["generator.generates=all", "generator.learned_base=true"],
    },
    Variant {
        name: "last-two-with-activation-embedding",
        overrides: &[
            "generator.generates=last 2",
            "generator.activation_embedding=3",
        ],
    },
    Variant {
        name: "all-from-both-features",
        overrides: &[
            PAPER[0],
            "generator.generates=all",
            "generator.logits_features=both",
        ],
    },
    Variant {
        name: "spatial",
        overrides: &[
            PAPER[0],
            "generator.generates=all",
            "generator.allocation=spatial",
        ],
    },
    Variant {
        name: "layers-1-and-3-with-bias-and-batch-norm",
        overrides: &[
            PAPER[0],
            "generator.generates=layers 1 3",
            "cnn.block=[convolution, activation, pool, batch_norm]",
            "generator.generate_bias=true",
            "generator.generate_batch_norm=true",
        ],
    },
    Variant {
        name: "first-two-with-batch-norm-and-learned-base",
        overrides: &[
            "generator.generates=first 2",
            "generator.generate_batch_norm=true",
            "generator.learned_base=true",
        ],
    },
    Variant {
        name: "encoder-decoder",
        overrides: &[
            PAPER[0],
            "generator.kind=encoder_decoder",
            "generator.generates=last 1",
        ],
    },
    Variant {
        name: "separate",
        overrides: &[
            PAPER[0],
            "generator.kind=separate",
            "generator.generates=first 1",
        ],
    },
    Variant {
        name: "pre-norm",
        overrides: &[
            "generator.pre_norm=true",
            "generator.generates=all",
            "generator.learned_base=true",
        ],
    },
    Variant {
        name: "large-kernels-with-stride",
        overrides: &[
            "cnn.layers=2",
            "cnn.kernel_size=9",
            "cnn.stride=4",
            "cnn.block=[convolution, batch_norm, activation]",
            "generator.generates=all",
        ],
    },
    Variant {
        name: "average-pooling",
        overrides: &[
            "cnn.pooling=average",
            "cnn.activation=leaky_relu",
            "generator.generates=last 1",
        ],
    },
    Variant {
        name: "valid-padding-and-average-head",
        overrides: &[
            "cnn.padding=valid",
            "cnn.layers=3",
            "cnn.stride=2",
            "cnn.head=average",
            "cnn.block=[convolution, batch_norm, activation]",
            "generator.generates=all",
        ],
    },
    Variant {
        name: "five-layers-of-which-three-pool",
        overrides: &[
            "cnn.layers=5",
            "cnn.pooled_layers=3",
            "generator.generates=last 2",
        ],
    },
    Variant {
        name: "no-image-embedding-and-no-inner-layer",
        overrides: &[
            "generator.image_embedding=0",
            "generator.inner_fraction=0",
            "generator.generates=all",
        ],
    },
    Variant {
        name: "settings-per-layer",
        overrides: &[
            "generator.generates=last 2",
            "generator.per_layer={3: {allocation: spatial, layers: 1}, logits: {label_dim: 16, heads: 4}}",
        ],
    },
    Variant {
        name: "image-embedding-without-batch-norm",
        overrides: &[
            "generator.image_embedding_batch_norm=false",
            "generator.generates=first 1",
        ],
    },
    Variant {
        name: "unlabelled-and-distractors",
        overrides: &[
            "episode.unlabeled=2",
            "episode.distractors=1",
            "generator.generates=last 1",
        ],
    },
    Variant {
        name: "no-convolution",
        overrides: &["cnn.layers=0", "generator.image_embedding=0"],
    },
    Variant {
        name: "sigmoid-attention",
        overrides: &[
            PAPER[0],
            "generator.attention=sigmoid",
            "generator.inner_nonlinearity=leaky_relu",
            "generator.generates=last 1",
        ],
    },
    Variant {
        name: "separate-with-gelu",
        overrides: &[
            PAPER[0],
            "generator.kind=separate",
            "generator.inner_nonlinearity=gelu",
            "generator.skip_last_nonlinearity=true",
        ],
    },
    Variant {
        name: "spatial-with-learned-base",
        overrides: &[
            "generator.generates=all",
            "generator.learned_base=true",
            "generator.allocation=spatial",
        ],
    },
    Variant {
        name: "bias-with-learned-base",
        overrides: &[
            "generator.generates=last 2",
            "generator.learned_base=true",
            "generator.generate_bias=true",
            "cnn.block=[convolution, activation, pool, batch_norm]",
        ],
    },
    Variant {
        name: "leaky-relu",
        overrides: &["cnn.activation=leaky_relu", "generator.generates=last 1"],
    },
    Variant {
        name: "encoder-decoder-with-pre-norm",
        overrides: &[
            PAPER[0],
            "generator.kind=encoder_decoder",
            "generator.pre_norm=true",
        ],
    },
    Variant {
        name: "separate-with-pre-norm",
        overrides: &[
            PAPER[0],
            "generator.kind=separate",
            "generator.pre_norm=true",
        ],
    },
    Variant {
        name: "large-spatial-kernels-with-stride",
        overrides: &[
            "cnn.layers=2",
            "cnn.kernel_size=9",
            "cnn.stride=4",
            "cnn.block=[convolution, batch_norm, activation]",
            "generator.generates=all",
            "generator.allocation=spatial",
        ],
    },
    Variant {
        name: "support-gradient",
        overrides: &[
            "generator.generates=all",
            "generator.learned_base=true",
            "generator.support_gradient=true",
        ],
    },
    Variant {
        name: "separate-with-support-gradient",
        overrides: &[
            PAPER[0],
            "generator.kind=separate",
            "generator.generates=layers 1 3",
            "generator.learned_base=true",
            "generator.support_gradient=true",
            "generator.per_layer={1: {allocation: spatial}}",
            "cnn.block=[convolution, activation, pool, batch_norm]",
        ],
    },
    Variant {
        name: "unlabelled-with-support-gradient",
        overrides: &[
            "episode.unlabeled=2",
            "episode.distractors=1",
            "generator.generates=last 2",
            "generator.learned_base=true",
            "generator.support_gradient=true",
            "generator.generate_bias=true",
            "generator.generate_batch_norm=true",
            "cnn.block=[convolution, activation, pool, batch_norm]",
        ],
    },
];

/// The variant of this name.
pub(crate) fn variant(name: &str) -> &'static Variant {
    let found = VARIANTS.iter().find(|variant| variant.name == name);
    found.unwrap_or_else(|| panic!("no variant is called `{name}`"))
}

impl Variant {
    /// Its model, with noise on φ, and three episodes that suit it.
    pub(crate) fn setup(&self) -> (Setup, Vec<Episode>) {
        self.setup_with(&[])
    }

    /// Its model with more overrides, with noise on φ, and three episodes that suit it.
    pub(crate) fn setup_with(&self, more: &[&str]) -> (Setup, Vec<Episode>) {
        setup_with_episodes(&[self.overrides, more].concat())
    }
}

/// A model with noise on φ, and three 5-way 2-shot episodes, with unlabelled images and a distractor where the overrides
/// ask for `episode.unlabeled=2`.
pub(crate) fn setup_with_episodes(overrides: &[&str]) -> (Setup, Vec<Episode>) {
    let unlabeled = overrides.contains(&"episode.unlabeled=2");
    let shape = EpisodeShape {
        way: 5,
        shot: 2,
        unlabeled: if unlabeled { 2 } else { 0 },
        distractors: usize::from(unlabeled),
        query: 3,
    };
    let sampler = glyph_sampler(shape, EpisodeDraw::PLAIN);
    let episodes = (0..3).map(|index| sampler.episode(index)).collect();
    (setup(overrides, 0.05), episodes)
}
