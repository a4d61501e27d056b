//! Selection of the CNN layers that are generated.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which convolutions are generated. The logits layer always is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GeneratedLayers {
    /// `logits`: no convolution.
    Logits,
    /// `all`: every convolution.
    All,
    /// `first N`: the first N convolutions.
    First(usize),
    /// `last N`: the last N convolutions.
    Last(usize),
    /// `layers A B …`: the listed convolutions, counted from 1.
    Listed(Vec<usize>),
}

impl GeneratedLayers {
    /// Whether convolution `layer`, counted from 0, of a CNN with `layers` convolutions is generated.
    pub fn convolution(&self, layer: usize, layers: usize) -> bool {
        match self {
            GeneratedLayers::Logits => false,
            GeneratedLayers::All => true,
            GeneratedLayers::First(count) => layer < *count,
            GeneratedLayers::Last(count) => layer + count >= layers,
            GeneratedLayers::Listed(list) => list.contains(&(layer + 1)),
        }
    }

    /// The number of convolutions that the CNN must have at least.
    pub(crate) fn required_convolutions(&self) -> usize {
        match self {
            GeneratedLayers::Logits | GeneratedLayers::All => 0,
            GeneratedLayers::First(count) | GeneratedLayers::Last(count) => *count,
            GeneratedLayers::Listed(list) => list.iter().copied().max().unwrap_or(0),
        }
    }
}

impl fmt::Display for GeneratedLayers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GeneratedLayers::Logits => formatter.write_str("logits"),
            GeneratedLayers::All => formatter.write_str("all"),
            GeneratedLayers::First(count) => write!(formatter, "first {count}"),
            GeneratedLayers::Last(count) => write!(formatter, "last {count}"),
            GeneratedLayers::Listed(list) => {
                formatter.write_str("layers")?;
                list.iter()
                    .try_for_each(|layer| write!(formatter, " {layer}"))
            }
        }
    }
}

impl From<GeneratedLayers> for String {
    fn from(layers: GeneratedLayers) -> String {
        layers.to_string()
    }
}

impl TryFrom<String> for GeneratedLayers {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            "expected `logits`, `all`, `first N`, `last N` or `layers A B …` with ascending numbers, counted from 1"
                .to_owned()
        };
        let mut words = text.split_whitespace();
        let kind = words.next().ok_or_else(wrong)?;
        let numbers = words
            .map(|word| word.parse().ok().filter(|&number: &usize| number > 0))
            .collect::<Option<Vec<usize>>>()
            .ok_or_else(wrong)?;
        match (kind, numbers.as_slice()) {
            ("logits", []) => Ok(GeneratedLayers::Logits),
            ("all", []) => Ok(GeneratedLayers::All),
            ("first", &[count]) => Ok(GeneratedLayers::First(count)),
            ("last", &[count]) => Ok(GeneratedLayers::Last(count)),
            ("layers", [_, ..]) if numbers.is_sorted_by(|one, next| one < next) => {
                Ok(GeneratedLayers::Listed(numbers))
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(text: &str) -> Vec<usize> {
        let layers = GeneratedLayers::try_from(text.to_owned()).unwrap();
        assert_eq!(layers.to_string(), text);
        (0..4)
            .filter(|&layer| layers.convolution(layer, 4))
            .collect()
    }

    #[test]
    fn each_form_names_its_layers_and_reads_back() {
        assert!(generated("logits").is_empty());
        assert_eq!(generated("all"), [0, 1, 2, 3]);
        assert_eq!(generated("first 1"), [0]);
        assert_eq!(generated("last 2"), [2, 3]);
        assert_eq!(generated("layers 1 3"), [0, 2]);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "some",
            "first",
            "first 0",
            "last x",
            "layers",
            "all 2",
            "layers 2 2",
            "layers 3 1",
        ] {
            let error = GeneratedLayers::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains("`first N`"), "{text}");
        }
    }
}
