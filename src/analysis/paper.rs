//! The paper's accuracies, to print beside those of runs of the same system.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::analysis::measured::Settings;

/// The numbers, and which system each is of.
const TABLE: &str = include_str!("../../results/paper.csv");

/// What the CNN of every table has besides its channels.
const CNN: [(&str, u64); 3] = [("cnn.layers", 4), ("cnn.kernel_size", 3), ("cnn.stride", 1)];

/// An accuracy of a HyperTransformer in the paper, transductive (batch-norm over the query batch).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Number of the table.
    pub table: u8,
    /// Name of the data set.
    #[serde(skip_serializing)]
    data_set: String,
    /// Name of the class split, if the data set has several.
    #[serde(skip_serializing)]
    split: Option<String>,
    #[serde(skip_serializing)]
    way: u64,
    #[serde(skip_serializing)]
    shot: u64,
    #[serde(skip_serializing)]
    unlabeled: u64,
    #[serde(skip_serializing)]
    channels: u64,
    #[serde(skip_serializing)]
    generates: Generates,
    /// Layers of the Transformer, where they distinguish results.
    #[serde(skip_serializing)]
    encoder_layers: Option<u64>,
    /// Accuracy on test classes, in percent.
    pub test: f64,
    /// Accuracy on training classes, in percent.
    pub train: Option<f64>,
}

/// Which layers are generated.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Generates {
    /// Only the logits layer.
    Logits,
    /// Some or all convolutions too.
    Convolutions,
}

static PUBLISHED: LazyLock<Vec<Published>> = LazyLock::new(|| {
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.comment(Some(b'#')).from_reader(TABLE.as_bytes());
    let rows = reader.deserialize().collect::<Result<_, _>>();
    rows.expect("the table is part of the program")
});

/// The paper's accuracies of the system that these settings describe, on the data set of this name; most systems have none,
/// few have two.
pub fn published(data_set: &str, settings: &Settings) -> Vec<Published> {
    let rows = PUBLISHED.iter();
    rows.filter(|row| row.data_set == data_set && row.is_of(settings))
        .cloned()
        .collect()
}

impl Published {
    fn is_of(&self, settings: &Settings) -> bool {
        let number = |key: &str| settings.get(key).and_then(Value::as_u64);
        let text = |key: &str| settings.get(key).and_then(Value::as_str);
        let generates = match text("generator.generates") {
            Some("logits") => Generates::Logits,
            _ => Generates::Convolutions,
        };
        let equal = [
            ("episode.way", self.way),
            ("episode.shot", self.shot),
            ("episode.unlabeled", self.unlabeled),
            ("cnn.channels", self.channels),
        ];
        // A run without a split uses the default, which is the paper's.
        let same_split = |split: &String| text("data.split").is_none_or(|own| own == split);
        equal
            .iter()
            .chain(&CNN)
            .all(|(key, value)| number(key) == Some(*value))
            && generates == self.generates
            && self.split.as_ref().is_none_or(same_split)
            && (self.encoder_layers).is_none_or(|layers| number("generator.layers") == Some(layers))
    }
}
