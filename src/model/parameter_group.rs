//! The parts of the model that parameters belong to.

use std::fmt;

/// The part of the model that a parameter belongs to. Its name is the beginning of the parameter's name in checkpoints;
/// layers are counted from 0 here and from 1 in names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterGroup {
    /// The image embedding s_φ.
    ImageEmbedding,
    /// Learned weights of a convolution of the target CNN.
    Convolution(usize),
    /// The weight generator of a convolution.
    ConvolutionGenerator(usize),
    /// The weight generator of the logits layer.
    LogitsGenerator,
    /// The training head after a convolution.
    WarmUpHead(usize),
    /// The training head that classifies real classes.
    RealClassHead,
}

impl ParameterGroup {
    const IMAGE_EMBEDDING: &str = "image_embedding";
    const CNN: &str = "cnn";
    const GENERATOR: &str = "generator";
    const LAYER: &str = "layer";
    const LOGITS: &str = "logits";
    const WARM_UP_HEAD: &str = "warm_up_head";
    const REAL_CLASS_HEAD: &str = "real_class_head";

    /// The group of the parameter of this name and the rest of the name after the group; none for a name that belongs
    /// to no group.
    pub fn split(name: &str) -> Option<(ParameterGroup, &str)> {
        let (first, rest) = name.split_once('.').unwrap_or((name, ""));
        let (layer, below) = rest.split_once('.').unwrap_or((rest, ""));
        let number_after = |prefix: &str, text: &str| -> Option<usize> {
            let number: usize = text.strip_prefix(prefix)?.parse().ok()?;
            number.checked_sub(1)
        };
        match first {
            Self::IMAGE_EMBEDDING => Some((Self::ImageEmbedding, rest)),
            Self::REAL_CLASS_HEAD => Some((Self::RealClassHead, rest)),
            Self::CNN => Some((Self::Convolution(number_after(Self::LAYER, layer)?), below)),
            Self::GENERATOR if layer == Self::LOGITS => Some((Self::LogitsGenerator, below)),
            Self::GENERATOR => {
                let layer = number_after(Self::LAYER, layer)?;
                Some((Self::ConvolutionGenerator(layer), below))
            }
            _ => Some((
                Self::WarmUpHead(number_after(Self::WARM_UP_HEAD, first)?),
                rest,
            )),
        }
    }

    /// Whether the group exists only for training.
    pub fn is_training_head(self) -> bool {
        matches!(self, Self::WarmUpHead(_) | Self::RealClassHead)
    }

    /// The layer of the target CNN that the group belongs to, `layer1` … or `logits`; the group's name where it belongs
    /// to no single layer.
    pub fn layer_name(self) -> String {
        match self {
            Self::Convolution(layer) | Self::ConvolutionGenerator(layer) => {
                format!("{}{}", Self::LAYER, layer + 1)
            }
            Self::LogitsGenerator => Self::LOGITS.to_owned(),
            Self::ImageEmbedding | Self::WarmUpHead(_) | Self::RealClassHead => self.to_string(),
        }
    }
}

/// The beginning of the names of the group's parameters, without the dot that follows.
impl fmt::Display for ParameterGroup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageEmbedding => formatter.write_str(Self::IMAGE_EMBEDDING),
            Self::Convolution(_) => write!(formatter, "{}.{}", Self::CNN, self.layer_name()),
            Self::ConvolutionGenerator(_) | Self::LogitsGenerator => {
                write!(formatter, "{}.{}", Self::GENERATOR, self.layer_name())
            }
            Self::WarmUpHead(layer) => write!(formatter, "{}{}", Self::WARM_UP_HEAD, layer + 1),
            Self::RealClassHead => formatter.write_str(Self::REAL_CLASS_HEAD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_name_reads_back() {
        for group in [
            ParameterGroup::ImageEmbedding,
            ParameterGroup::Convolution(0),
            ParameterGroup::ConvolutionGenerator(9),
            ParameterGroup::LogitsGenerator,
            ParameterGroup::WarmUpHead(1),
            ParameterGroup::RealClassHead,
        ] {
            let name = format!("{group}.layer1.bias");
            assert_eq!(ParameterGroup::split(&name), Some((group, "layer1.bias")));
        }
        for name in ["logits.weight", "cnn.layer0.kernel", "generator.encoder"] {
            assert_eq!(ParameterGroup::split(name), None, "{name}");
        }
    }
}
