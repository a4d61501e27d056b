//! φ as one vector: every learned parameter is a named view of a single flat tensor.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::base::random::{Purpose, Random};
use crate::model::error::{MOST_PARAMETERS, ModelError};
use crate::model::parameter_group::ParameterGroup;

/// The initial values of a parameter.
#[derive(Clone, Debug)]
pub enum Initial {
    /// This value for every element.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Uniform in ±√(6 / (fan in + fan out)) (Glorot and Bengio 2010).
    Glorot {
        /// Inputs of one output element.
        fan_in: usize,
        /// Outputs that one input element reaches.
        fan_out: usize,
    },
    /// These values, in row-major order, plus normal noise of this standard deviation.
    Values(Vec<f32>, f32),
}

/// The role of a parameter, on which weight decay depends ([`crate::settings::train::WeightDecayOn`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// The kernel of a convolution or the matrix of a dense layer.
    Matrix,
    /// An additive parameter: a bias, or β of a normalisation.
    Bias,
    /// An elementwise factor: γ of a normalisation, or an output scale.
    Gain,
    /// Learned tokens: ξ, ξ̂ and μ.
    Embedding,
    /// A moving average, which is not learned.
    Statistic,
}

/// Identifies one parameter of a [`ParameterLayout`].
#[derive(Clone, Copy, Debug)]
pub struct ParameterId(usize);

/// Name, shape, kind and initial values of one parameter.
#[derive(Clone, Debug)]
pub struct ParameterSpec {
    /// Dotted name, as in checkpoints.
    pub name: String,
    /// Shape of the view.
    pub shape: Vec<i64>,
    /// Its role.
    pub kind: ParameterKind,
    /// Its initial values.
    pub initial: Initial,
}

impl ParameterSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part of the model that it belongs to; none for a name that belongs to no group.
    pub fn group(&self) -> Option<ParameterGroup> {
        ParameterGroup::split(&self.name).map(|(group, _)| group)
    }
}

/// Positions of named parameters in a flat vector: φ, or the moving averages.
#[derive(Clone, Debug, Default)]
pub struct ParameterLayout {
    specs: Vec<ParameterSpec>,
}

impl ParameterLayout {
    /// Appends a parameter.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        shape: &[i64],
        kind: ParameterKind,
        initial: Initial,
    ) -> ParameterId {
        let name = name.into();
        debug_assert!(
            self.specs.iter().all(|spec| spec.name != name),
            "{name} added twice"
        );
        self.specs.push(ParameterSpec {
            name,
            shape: shape.to_vec(),
            kind,
            initial,
        });
        ParameterId(self.specs.len() - 1)
    }

    /// All parameters, in the order of the vector.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// Name, shape, kind and initial values of one parameter.
    pub fn spec(&self, id: ParameterId) -> &ParameterSpec {
        &self.specs[id.0]
    }

    /// Replaces the initial values of a parameter.
    pub fn set_initial(&mut self, id: ParameterId, initial: Initial) {
        self.specs[id.0].initial = initial;
    }

    /// Checks that the vector is not longer than any machine could hold, before anything as long is allocated.
    ///
    /// # Errors
    /// [`ModelError::TooManyParameters`] otherwise.
    pub(crate) fn ensure_possible(&self) -> Result<(), ModelError> {
        let length = |spec: &ParameterSpec| {
            let lengths = spec.shape.iter().map(|&length| length.max(0) as u128);
            lengths.fold(1, u128::saturating_mul)
        };
        let total = self.specs.iter().map(length).fold(0, u128::saturating_add);
        match total > MOST_PARAMETERS {
            true => Err(ModelError::TooManyParameters(total)),
            false => Ok(()),
        }
    }

    /// Number of elements of the vector.
    pub fn total(&self) -> usize {
        self.specs.iter().map(ParameterSpec::len).sum()
    }

    /// Number of elements of the parameters in the groups that `included` accepts.
    pub fn total_of(&self, included: impl Fn(ParameterGroup) -> bool) -> usize {
        let chosen = self
            .specs
            .iter()
            .filter(|spec| spec.group().is_some_and(&included));
        chosen.map(ParameterSpec::len).sum()
    }

    /// The groups of parameters and where they lie in the vector. A group whose parameters are apart appears again.
    pub fn groups(&self) -> Vec<(ParameterGroup, Range<usize>)> {
        let mut groups: Vec<(ParameterGroup, Range<usize>)> = Vec::new();
        let mut start = 0;
        for spec in &self.specs {
            let end = start + spec.len();
            match (spec.group(), groups.last_mut()) {
                (Some(group), Some((last, range))) if group == *last && range.end == start => {
                    range.end = end;
                }
                (Some(group), _) => groups.push((group, start..end)),
                (None, _) => {}
            }
            start = end;
        }
        groups
    }

    /// One number for each element of the vector, `[total]`, equal for all elements of a parameter.
    pub fn per_element(&self, number: impl Fn(&ParameterSpec) -> f32) -> Vec<f32> {
        let each = |spec: &ParameterSpec| std::iter::repeat_n(number(spec), spec.len());
        self.specs.iter().flat_map(each).collect()
    }

    /// The initial vector, `[total]`: a pure function of the layout and the seed.
    pub fn initial_values(&self, seed: u64) -> Vec<f32> {
        let mut phi = Vec::with_capacity(self.total());
        for (index, spec) in self.specs.iter().enumerate() {
            let mut random = Random::new(seed, Purpose::Initialization, index as u64);
            match &spec.initial {
                Initial::Constant(value) => phi.extend(std::iter::repeat_n(*value, spec.len())),
                Initial::Normal(deviation) => {
                    phi.extend((0..spec.len()).map(|_| deviation * random.normal_f32()));
                }
                Initial::Glorot { fan_in, fan_out } => {
                    let bound = (6.0 / (fan_in + fan_out) as f32).sqrt();
                    phi.extend((0..spec.len()).map(|_| bound * (2.0 * random.unit_f32() - 1.0)));
                }
                Initial::Values(values, noise) => {
                    debug_assert_eq!(values.len(), spec.len(), "{}", spec.name);
                    phi.extend(
                        values
                            .iter()
                            .map(|value| value + noise * random.normal_f32()),
                    );
                }
            }
        }
        phi
    }

    /// Splits a flat vector, `[total]`, into its named views.
    pub fn split(&self, flat: &Tensor) -> Parameters {
        let sizes: Vec<i64> = self.specs.iter().map(|spec| spec.len() as i64).collect();
        let parts = flat.split_with_sizes(sizes, 0);
        Parameters(
            parts
                .iter()
                .zip(&self.specs)
                .map(|(part, spec)| part.view(&spec.shape[..]))
                .collect(),
        )
    }

    /// Splits a flat vector, `[total]`, into views that are leaves with a gradient of their own.
    pub fn leaves(&self, flat: &Tensor) -> Parameters {
        let views = self.split(&flat.detach()).0;
        Parameters(
            views
                .into_iter()
                .map(|view| view.set_requires_grad(true))
                .collect(),
        )
    }
}

/// Views of a flat vector, indexed by [`ParameterId`].
#[derive(Debug)]
pub struct Parameters(Vec<Tensor>);

impl Parameters {
    /// The view of this parameter.
    pub fn get(&self, id: ParameterId) -> &Tensor {
        &self.0[id.0]
    }

    /// All views, in the order of the vector.
    pub fn all(&self) -> &[Tensor] {
        &self.0
    }

    /// Concatenates the gradients of all parameters, `[total]`; zeros where a gradient is undefined.
    pub fn flat(&self, gradients: &[Tensor]) -> Tensor {
        let defined = |(view, gradient): (&Tensor, &Tensor)| match gradient.defined() {
            true => gradient.flatten(0, -1),
            false => view.zeros_like().flatten(0, -1),
        };
        let parts: Vec<Tensor> = self.0.iter().zip(gradients).map(defined).collect();
        concatenated(&parts, self.device())
    }

    /// The device of the views; the CPU if there are none.
    pub fn device(&self) -> Device {
        self.0.first().map_or(Device::Cpu, Tensor::device)
    }
}

/// Concatenates vectors; of no vectors an empty one on `device`.
pub fn concatenated(parts: &[Tensor], device: Device) -> Tensor {
    match parts {
        [] => Tensor::zeros([0], (Kind::Float, device)),
        _ => Tensor::cat(parts, 0),
    }
}

/// A leaf that requires a gradient and shares its storage with `phi`.
pub fn leaf(phi: &Tensor) -> Tensor {
    phi.detach().set_requires_grad(true)
}
