//! Attention maps of the weight generators (Figures 8 and 9).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::{Array3, Axis};
use safetensors::tensor::{Dtype, TensorView};
use tch::Tensor;

use crate::base::atomic;
use crate::base::device::elements;
use crate::draw::canvas::write_png;
use crate::draw::heatmap::{Heatmap, draw};
use crate::episode::episode::Episode;
use crate::episode::sampler::EpisodeSampler;
use crate::model::batch::EpisodeBatch;
use crate::model::parameter_group::ParameterGroup;
use crate::model::tensor_sizes::sizes;
use crate::model::trained::Trained;
use crate::settings::cnn::BatchNormMode;
use crate::settings::generator::{GeneratorKind, GeneratorOptions};

/// The meaning of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A weight slice.
    Weight,
    /// A labelled sample of this class slot.
    Labeled(i64),
    /// An unlabelled sample.
    Unlabeled,
}

/// Attention weights of one layer of a Transformer.
#[derive(Clone, Debug)]
pub struct AttentionMap {
    /// Name of the attention's parameters, e.g. `generator.logits.encoder.layer1.attention`.
    pub name: String,
    /// The tokens that attend.
    pub rows: Vec<Token>,
    /// The tokens that are attended to.
    pub columns: Vec<Token>,
    /// Attention weights, `[heads, rows, columns]`; with softmax attention each row sums to 1.
    pub weights: Array3<f32>,
}

/// Computes the attention maps of `trained`, averaged over the first `episodes` episodes of `sampler`, in the order of
/// the forward pass. Samples are sorted by label, unlabelled ones last. `options` are those that the model was built
/// with.
pub fn attention_maps(
    trained: &Trained,
    options: &GeneratorOptions,
    sampler: &EpisodeSampler,
    episodes: u64,
    batch_norm: BatchNormMode,
) -> Vec<AttentionMap> {
    let device = trained.device();
    let views = trained.views();
    let way = sampler.shape().way as i64;
    let mut maps: Vec<AttentionMap> = Vec::new();
    for index in 0..episodes {
        let episode = sorted_by_label(sampler.episode(index));
        let samples: Vec<Token> = episode
            .support
            .labels
            .iter()
            .map(|&label| match label < way {
                true => Token::Labeled(label),
                false => Token::Unlabeled,
            })
            .collect();
        let batch = EpisodeBatch::new(&[episode], device);
        let found = tch::no_grad(|| trained.model.attention(&views, &batch, batch_norm));
        for (index, (name, weights)) in found.into_iter().enumerate() {
            let weights = array(&weights.get(0)) / episodes as f32;
            match maps.get_mut(index) {
                Some(map) => map.weights += &weights,
                None => maps.push(labelled(name, weights, options, &samples)),
            }
        }
    }
    maps
}

fn sorted_by_label(mut episode: Episode) -> Episode {
    let support = &mut episode.support;
    let mut order: Vec<usize> = (0..support.labels.len()).collect();
    order.sort_by_key(|&sample| support.labels[sample]);
    support.images = support.images.select(Axis(0), &order);
    support.labels = order.iter().map(|&sample| support.labels[sample]).collect();
    episode
}

fn array(tensor: &Tensor) -> Array3<f32> {
    let [heads, rows, columns] = sizes(tensor, "attention weights of one task");
    let shape = [heads, rows, columns].map(|length| length as usize);
    Array3::from_shape_vec(shape, elements(tensor))
        .expect("a tensor has as many elements as its shape says")
}

/// Names the tokens of the rows and columns. In the sequence of an encoder, or of an encoder and decoder, weight tokens
/// come before samples; the separate kind has a sequence for each. The last layer may have only the first rows, because
/// the output of the others is not needed.
fn labelled(
    name: String,
    weights: Array3<f32>,
    options: &GeneratorOptions,
    samples: &[Token],
) -> AttentionMap {
    let weight_tokens = |count: usize| vec![Token::Weight; count];
    let (_, row_count, column_count) = weights.dim();
    let options = match ParameterGroup::split(&name) {
        Some((ParameterGroup::ConvolutionGenerator(layer), _)) => options.of_convolution(layer),
        _ => options.of_logits(),
    };
    let (rows, columns) = match options.kind {
        GeneratorKind::Separate if name.contains(".encoder.") => {
            (samples[..row_count].to_vec(), samples.to_vec())
        }
        GeneratorKind::Separate if name.ends_with(".cross_attention") => {
            (weight_tokens(row_count), samples.to_vec())
        }
        GeneratorKind::Separate => (weight_tokens(row_count), weight_tokens(column_count)),
        GeneratorKind::Encoder | GeneratorKind::EncoderDecoder => {
            let mut sequence = weight_tokens(column_count - samples.len());
            sequence.extend(samples);
            (sequence[..row_count].to_vec(), sequence)
        }
    };
    AttentionMap {
        name,
        rows,
        columns,
        weights,
    }
}

/// Splits a name such as `generator.layer4.encoder.layer1.attention` into `layer4` and `encoder.layer1.attention`.
fn layer_and_part(name: &str) -> (String, &str) {
    match ParameterGroup::split(name) {
        Some((group, part)) => (group.layer_name(), part),
        None => (name.to_owned(), ""),
    }
}

/// Writes one picture per generated layer to `folder`, with a row for each attention and a column for each head, and
/// all weights to `attention.safetensors`. Returns the paths of the files.
///
/// # Errors
/// If the folder or a file cannot be written.
pub fn write_attention_maps(maps: &[AttentionMap], folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let mut layers: BTreeMap<String, Vec<Vec<Heatmap>>> = BTreeMap::new();
    for map in maps {
        let (layer, part) = layer_and_part(&map.name);
        layers
            .entry(layer)
            .or_default()
            .push(panels(map, part).collect());
    }
    let mut paths = Vec::new();
    for (layer, rows) in layers {
        let path = folder.join(format!("attention-{layer}.png"));
        write_png(&draw(&rows), &path)?;
        paths.push(path);
    }
    let path = folder.join("attention.safetensors");
    atomic::write(&path, &encode(maps)?)?;
    paths.push(path);
    Ok(paths)
}

/// One panel per head; `part` is the name of the attention inside the layer.
fn panels<'a>(map: &'a AttentionMap, part: &'a str) -> impl Iterator<Item = Heatmap> + 'a {
    map.weights
        .outer_iter()
        .enumerate()
        .map(move |(head, weights)| Heatmap {
            title: format!("{part} head {}", head + 1),
            row_groups: groups(&map.rows),
            column_groups: groups(&map.columns),
            values: weights.to_owned(),
        })
}

/// Groups consecutive equal tokens and returns the label and length of each group: `W` for weight slices, the class
/// slot for labelled samples, `U` for unlabelled ones.
fn groups(tokens: &[Token]) -> Vec<(String, usize)> {
    tokens
        .chunk_by(|left, right| left == right)
        .map(|run| {
            let name = match run[0] {
                Token::Weight => "W".to_owned(),
                Token::Labeled(slot) => slot.to_string(),
                Token::Unlabeled => "U".to_owned(),
            };
            (name, run.len())
        })
        .collect()
}

/// Encodes the weights of all maps as safetensors.
fn encode(maps: &[AttentionMap]) -> std::io::Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = maps
        .iter()
        .map(|map| {
            map.weights
                .iter()
                .flat_map(|weight| weight.to_le_bytes())
                .collect()
        })
        .collect();
    let views = maps
        .iter()
        .zip(&bytes)
        .map(|(map, bytes)| {
            let view = TensorView::new(Dtype::F32, map.weights.shape().to_vec(), bytes)?;
            Ok((map.name.as_str(), view))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(std::io::Error::other)?;
    safetensors::serialize(views, None).map_err(std::io::Error::other)
}
