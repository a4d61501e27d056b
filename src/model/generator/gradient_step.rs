//! `initialization: gradient_step`: the initial self-attention equals one gradient step on the logits layer (Appendix
//! A).
//!
//! - ξ(c) are orthogonal, centred and of length √d, and μ(c) = ξ(c).
//! - Queries and keys of the first layer read only the label part, equally in every head, so that a weight token
//!   attends to the samples of its class (and to itself, whose slice part is 0).
//! - Its values and output matrix copy the flattened activations of a sample to the slice part of the token.
//! - All other output matrices are zero initially, so that later layers leave the tokens unchanged.
//!
//! The generated W_c is then the mean of the layer-normed features of class c, times a positive scale. Generated
//! convolutions are added to learned kernels and initially small, so that the model starts close to one that generates
//! only the logits layer.

use crate::base::random::{Purpose, Random};
use crate::model::generator::attention::Attention;
use crate::model::generator::generator::WeightGenerator;
use crate::model::parameters::{Initial, ParameterLayout};

/// Initial attention score between tokens of the same class; between classes it is 0.
const CLASS_SCORE: f64 = 8.0;

/// Standard deviation of the noise that breaks the symmetry of Q, K and V.
const NOISE: f32 = 1e-3;

/// Sets the initial values of a logits generator so that it computes one gradient step.
pub fn initialize_as_gradient_step(
    layout: &mut ParameterLayout,
    generator: &WeightGenerator,
    seed: u64,
) {
    let tokens = &generator.tokens;
    let rows = layout.spec(tokens.labels).shape[0] as usize;
    let labels = centred_orthogonal(rows, tokens.label_dim, seed);
    let placeholders = labels[..tokens.slices * tokens.label_dim].to_vec();
    layout.set_initial(tokens.labels, Initial::Values(labels, 0.0));
    layout.set_initial(tokens.placeholders, Initial::Values(placeholders, 0.0));
    let layers = generator
        .joint_encoder()
        .map_or(&[][..], |stack| &stack.layers);
    for (index, layer) in layers.iter().enumerate() {
        let zero = Initial::Constant(0.0);
        layout.set_initial(layer.attention.output.weight, zero.clone());
        if let Some((_, outer, _)) = &layer.perceptron {
            layout.set_initial(outer.weight, zero);
        }
        if index == 0 {
            attend_to_class(layout, &layer.attention, tokens.label_dim);
            copy_features(
                layout,
                &layer.attention,
                tokens.label_dim,
                tokens.slice_length - 1,
            );
        }
    }
}

/// Q = K: every head reads as many label dimensions as fit, scaled so that two tokens of a class have the score
/// [`CLASS_SCORE`].
fn attend_to_class(layout: &mut ParameterLayout, attention: &Attention, label_dim: usize) {
    let query = attention.query;
    let (rows, width) = (query.outputs(layout), query.inputs(layout));
    let head_width = rows / attention.heads();
    let used = head_width.min(label_dim);
    // Each label element has mean square 1, so `used` of them have a dot product of about `used`.
    let gain = (CLASS_SCORE * (head_width as f64).sqrt() / used as f64).sqrt() as f32;
    let mut matrix = vec![0.0; rows * width];
    for head in 0..attention.heads() {
        for element in 0..used {
            let row = head * head_width + element;
            matrix[row * width + (head * head_width + element) % label_dim] = gain;
        }
    }
    for dense in [query, attention.key] {
        layout.set_initial(dense.weight, Initial::Values(matrix.clone(), NOISE));
    }
}

/// V and the output matrix: feature i → value i → slice element i, for as many elements as values are wide. All heads
/// attend equally, so it does not matter which head copies which element.
fn copy_features(
    layout: &mut ParameterLayout,
    attention: &Attention,
    label_dim: usize,
    flat_length: usize,
) {
    let value = attention.value;
    let (value_width, width) = (value.outputs(layout), value.inputs(layout));
    let mut values = vec![0.0; value_width * width];
    let mut output = vec![0.0; width * value_width];
    for element in 0..flat_length.min(value_width) {
        values[element * width + label_dim + element] = 1.0;
        output[(label_dim + element) * value_width + element] = 1.0;
    }
    layout.set_initial(value.weight, Initial::Values(values, NOISE));
    layout.set_initial(attention.output.weight, Initial::Values(output, 0.0));
}

/// `rows` vectors of `width` elements with mean 0 and mean square 1; the first `width` − 1 of them are orthogonal.
fn centred_orthogonal(rows: usize, width: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, Purpose::Initialization, u64::MAX);
    let mut found: Vec<Vec<f64>> = Vec::with_capacity(rows);
    for _ in 0..rows {
        let mut vector: Vec<f64> = (0..width).map(|_| f64::from(random.normal_f32())).collect();
        let mean = vector.iter().sum::<f64>() / width as f64;
        vector.iter_mut().for_each(|value| *value -= mean);
        if found.len() + 1 < width {
            for other in &found {
                let along = dot(&vector, other) / width as f64;
                vector
                    .iter_mut()
                    .zip(other)
                    .for_each(|(value, other)| *value -= along * other);
            }
        }
        let scale = (width as f64 / dot(&vector, &vector).max(f64::MIN_POSITIVE)).sqrt();
        vector.iter_mut().for_each(|value| *value *= scale);
        found.push(vector);
    }
    found
        .into_iter()
        .flatten()
        .map(|value| value as f32)
        .collect()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| left * right)
        .sum()
}
