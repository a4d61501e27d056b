//! φ as one vector: every learned parameter is a named view into a single flat tensor.
use tch::{Device, Kind, Tensor};

use crate::base::random::{Purpose, Random};
use crate::model::part_cost::PartCost;

/// How a parameter starts.
#[derive(Clone, Debug)]
pub enum Initial {
    /// Every element the same.
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

/// What a parameter is for; weight decay asks ([`crate::settings::train::WeightDecayOn`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// A convolution's kernel or a dense layer's matrix.
    Matrix,
    /// What is added: biases, β of normalisations.
    Bias,
    /// What each element is multiplied by: γ of normalisations, output scales.
    Gain,
    /// Learned tokens: ξ, ξ̂, μ.
    Embedding,
    /// Moving averages, which are not learned.
    Statistic,
}

/// Names one parameter of a [`ParameterLayout`].
#[derive(Clone, Copy, Debug)]
pub struct ParameterId(usize);

/// Name, shape, kind and start of one parameter.
#[derive(Clone, Debug)]
pub struct ParameterSpec {
    /// Dotted name, as in checkpoints.
    pub name: String,
    /// Shape of the view.
    pub shape: Vec<i64>,
    /// What it is for.
    pub kind: ParameterKind,
    /// How it starts.
    pub initial: Initial,
}

impl ParameterSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }

    /// Whether it holds no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where each named parameter lies in the flat vector φ.
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

    /// All parameters in the order of φ.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// Name, shape, kind and start of one parameter.
    pub fn spec(&self, id: ParameterId) -> &ParameterSpec {
        &self.specs[id.0]
    }

    /// Replaces how a parameter starts.
    pub fn start(&mut self, id: ParameterId, initial: Initial) {
        self.specs[id.0].initial = initial;
    }

    /// Number of elements of φ.
    pub fn total(&self) -> usize {
        self.specs.iter().map(ParameterSpec::len).sum()
    }

    /// Number of elements of the parameters whose name starts with this.
    pub fn total_below(&self, prefix: &str) -> usize {
        let below = self
            .specs
            .iter()
            .filter(|spec| spec.name.starts_with(prefix));
        below.map(ParameterSpec::len).sum()
    }

    /// A number for each element of φ, `[total]`, the same for all elements of a parameter.
    pub fn per_element(&self, number: impl Fn(&ParameterSpec) -> f32) -> Vec<f32> {
        let each = |spec: &ParameterSpec| std::iter::repeat_n(number(spec), spec.len());
        self.specs.iter().flat_map(each).collect()
    }

    /// The initial φ, `[total]`: a pure function of the layout and the seed.
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

    /// Splits φ, `[total]`, into its named views.
    pub fn split(&self, phi: &Tensor) -> Parameters {
        let sizes: Vec<i64> = self.specs.iter().map(|spec| spec.len() as i64).collect();
        let parts = phi.split_with_sizes(sizes, 0);
        Parameters(
            parts
                .iter()
                .zip(&self.specs)
                .map(|(part, spec)| part.view(&spec.shape[..]))
                .collect(),
        )
    }

    /// The same with each view a leaf of its own that gradients can be asked for.
    pub fn leaves(&self, phi: &Tensor) -> Parameters {
        let views = self.split(&phi.detach()).0;
        Parameters(
            views
                .into_iter()
                .map(|view| view.set_requires_grad(true))
                .collect(),
        )
    }
}

/// The views of one φ, to be asked by [`ParameterId`].
#[derive(Debug)]
pub struct Parameters(Vec<Tensor>);

impl Parameters {
    /// The view of this parameter.
    pub fn get(&self, id: ParameterId) -> &Tensor {
        &self.0[id.0]
    }

    /// All of them, in the order of φ.
    pub fn all(&self) -> &[Tensor] {
        &self.0
    }

    /// One gradient of φ, `[total]`, from those of its parameters; zeros where one is not defined.
    pub fn flat(&self, gradients: &[Tensor]) -> Tensor {
        let defined = |(view, gradient): (&Tensor, &Tensor)| match gradient.defined() {
            true => gradient.flatten(0, -1),
            false => view.zeros_like().flatten(0, -1),
        };
        let parts: Vec<Tensor> = self.0.iter().zip(gradients).map(defined).collect();
        concatenated(&parts, self.device())
    }

    /// Where they lie.
    pub fn device(&self) -> Device {
        self.0.first().map_or(Device::Cpu, Tensor::device)
    }
}

/// A dense layer x Wᵀ + b.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// W, `[outputs, inputs]`.
    pub weight: ParameterId,
    /// b, `[outputs]`.
    pub bias: ParameterId,
}

impl Dense {
    /// A Glorot-uniform weight and a zero bias.
    pub fn new(layout: &mut ParameterLayout, name: &str, inputs: usize, outputs: usize) -> Dense {
        let initial = Initial::Glorot {
            fan_in: inputs,
            fan_out: outputs,
        };
        Dense {
            weight: layout.add(
                format!("{name}.weight"),
                &[outputs as i64, inputs as i64],
                ParameterKind::Matrix,
                initial,
            ),
            bias: layout.add(
                format!("{name}.bias"),
                &[outputs as i64],
                ParameterKind::Bias,
                Initial::Constant(0.0),
            ),
        }
    }

    /// On one row.
    pub fn cost(&self, layout: &ParameterLayout) -> PartCost {
        PartCost {
            multiply_adds: layout.spec(self.weight).len(),
            kept: layout.spec(self.bias).len(),
        }
    }

    /// `[…, inputs]` → `[…, outputs]`.
    pub fn forward(&self, parameters: &Parameters, input: &Tensor) -> Tensor {
        input.linear(parameters.get(self.weight), Some(parameters.get(self.bias)))
    }
}

/// Layer normalisation over the last axis.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    /// Gain, `[width]`, starting at 1.
    pub weight: ParameterId,
    /// Offset, `[width]`, starting at 0.
    pub bias: ParameterId,
    width: i64,
}

impl LayerNorm {
    /// As in the authors' program (ε = 10⁻⁶).
    const EPSILON: f64 = 1e-6;

    /// Gain 1, offset 0.
    pub fn new(layout: &mut ParameterLayout, name: &str, width: usize) -> LayerNorm {
        let width = width as i64;
        let mut add = |part: &str, kind, start| {
            let name = format!("{name}.{part}");
            layout.add(name, &[width], kind, Initial::Constant(start))
        };
        LayerNorm {
            weight: add("weight", ParameterKind::Gain, 1.0),
            bias: add("bias", ParameterKind::Bias, 0.0),
            width,
        }
    }

    /// `[…, width]` → `[…, width]`.
    pub fn forward(&self, parameters: &Parameters, input: &Tensor) -> Tensor {
        input.layer_norm(
            [self.width],
            Some(parameters.get(self.weight)),
            Some(parameters.get(self.bias)),
            Self::EPSILON,
            false,
        )
    }
}

/// The parts one after the other as one vector; of no parts an empty one.
pub fn concatenated(parts: &[Tensor], device: Device) -> Tensor {
    match parts {
        [] => Tensor::zeros([0], (Kind::Float, device)),
        _ => Tensor::cat(parts, 0),
    }
}

/// φ as a leaf that gradients can be asked for, sharing its storage with `phi`.
pub fn leaf(phi: &Tensor) -> Tensor {
    phi.detach().set_requires_grad(true)
}
