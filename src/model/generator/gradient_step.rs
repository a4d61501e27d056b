//! `gradient_step`: start where self-attention *is* one gradient step on the logits layer (Appendix A).
//!
//! - ξ(c) are orthogonal, centred, of length √d; μ(c) = ξ(c).
//! - The first layer's queries and keys read only the label part, alike in every head, so that a weight token
//!   attends to the samples of its class (and to itself, whose slice part is 0).
//! - Its values and output map carry the flattened activations of a sample to the slice part of the token.
//! - Every other output projection starts at zero: the layers after it pass tokens on unchanged.
//!
//! - Convolutions are learned; where they are generated too, a small change is added to the learned kernel, so that
//!   the start is that of the logits layer alone.
//!
//! The generated W_c is then the mean of the class's (layer-normed) features, times a positive scale.
use crate::base::random::{Purpose, Random};
use crate::model::generator::generator::WeightGenerator;
use crate::model::generator::transformer::Attention;
use crate::model::parameters::{Initial, ParameterLayout};

/// Attention score between tokens of one class; between classes it is 0.
const CLASS_SCORE: f64 = 8.0;

/// Standard deviation of the noise that breaks the symmetry of Q, K and V.
const NOISE: f32 = 1e-3;

/// Turns a freshly built logits generator's start into one gradient step.
pub fn start_as_gradient_step(
    layout: &mut ParameterLayout,
    generator: &WeightGenerator,
    seed: u64,
) {
    let tokens = &generator.tokens;
    let rows = layout.spec(tokens.labels).shape[0] as usize;
    let labels = centred_orthogonal(rows, tokens.label_dim, seed);
    let placeholders = labels[..tokens.slices * tokens.label_dim].to_vec();
    layout.start(tokens.labels, Initial::Values(labels, 0.0));
    layout.start(tokens.placeholders, Initial::Values(placeholders, 0.0));
    let layers = generator
        .joint_encoder()
        .map_or(&[][..], |stack| &stack.layers);
    for (index, layer) in layers.iter().enumerate() {
        let zero = Initial::Constant(0.0);
        layout.start(layer.attention.output.weight, zero.clone());
        if let Some((_, outer, _)) = &layer.perceptron {
            layout.start(outer.weight, zero);
        }
        if index == 0 {
            attend_to_class(layout, &layer.attention, tokens.label_dim);
            carry_features(
                layout,
                &layer.attention,
                tokens.label_dim,
                tokens.slice_length - 1,
            );
        }
    }
}

/// Q = K: in every head as many label dimensions as fit, scaled so that two tokens of a class score
/// [`CLASS_SCORE`].
fn attend_to_class(layout: &mut ParameterLayout, attention: &Attention, label_dim: usize) {
    let [rows, width] = shape(layout, attention, |attention| attention.query.weight);
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
    for dense in [attention.query, attention.key] {
        layout.start(dense.weight, Initial::Values(matrix.clone(), NOISE));
    }
}

/// V and the output map: feature i → value i → slice element i. All heads attend alike, so it does not matter
/// which head carries which element. Where values are narrower than slices, the elements that fit.
fn carry_features(
    layout: &mut ParameterLayout,
    attention: &Attention,
    label_dim: usize,
    flat_length: usize,
) {
    let [value_width, width] = shape(layout, attention, |attention| attention.value.weight);
    let mut values = vec![0.0; value_width * width];
    let mut output = vec![0.0; width * value_width];
    for element in 0..flat_length.min(value_width) {
        values[element * width + label_dim + element] = 1.0;
        output[(label_dim + element) * value_width + element] = 1.0;
    }
    layout.start(attention.value.weight, Initial::Values(values, NOISE));
    layout.start(attention.output.weight, Initial::Values(output, 0.0));
}

fn shape(
    layout: &ParameterLayout,
    attention: &Attention,
    which: impl Fn(&Attention) -> crate::model::parameters::ParameterId,
) -> [usize; 2] {
    let shape = &layout.spec(which(attention)).shape;
    [shape[0] as usize, shape[1] as usize]
}

/// `rows` vectors of `width` elements with mean 0 and mean square 1, orthogonal while there are fewer than `width`.
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
