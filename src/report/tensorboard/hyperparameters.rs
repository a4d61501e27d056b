//! The tab "HParams" of TensorBoard: the settings of runs in a table beside their accuracies. The messages are those of
//! `plugin_data.proto` and `api.proto` (TensorBoard, Apache-2.0), in the form that prost generates; fields that are not
//! listed are not written.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::Value;
use tensorboard_proto::summary::Summary;

use super::summaries::plugin;

const PLUGIN: &str = "hparams";

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(oneof = "Data", tags = "2, 3")]
    data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Data {
    #[prost(message, tag = "2")]
    Experiment(Columns),
    #[prost(message, tag = "3")]
    SessionStart(Row),
}

#[derive(Clone, PartialEq, Message)]
struct Columns {
    #[prost(message, repeated, tag = "4")]
    settings: Vec<Setting>,
    #[prost(message, repeated, tag = "5")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Setting {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "4")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, optional, tag = "1")]
    name: Option<MetricName>,
}

#[derive(Clone, PartialEq, Message)]
struct MetricName {
    #[prost(string, tag = "2")]
    tag: String,
}

#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(btree_map = "string, message", tag = "1")]
    settings: BTreeMap<String, Cell>,
}

#[derive(Clone, PartialEq, Message)]
struct Cell {
    #[prost(oneof = "Content", tags = "2, 3, 4")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Content {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Flag(bool),
}

impl Content {
    fn of(value: &Value) -> Content {
        match value {
            Value::Bool(flag) => Content::Flag(*flag),
            Value::Number(number) => Content::Number(number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => Content::Text(text.clone()),
            other => Content::Text(other.to_string()),
        }
    }

    /// The value of `DataType` in `api.proto`.
    fn kind(&self) -> i32 {
        match self {
            Content::Text(_) => 1,
            Content::Flag(_) => 2,
            Content::Number(_) => 3,
        }
    }
}

/// What the tab shows of a run: its settings by name, and the last values of `metrics`.
pub(super) fn table(settings: &BTreeMap<String, Value>, metrics: &[&str]) -> [Summary; 2] {
    let cells: BTreeMap<&String, Content> = settings
        .iter()
        .map(|(name, value)| (name, Content::of(value)))
        .collect();
    let columns = Columns {
        settings: cells
            .iter()
            .map(|(name, content)| Setting {
                name: (*name).clone(),
                kind: content.kind(),
            })
            .collect(),
        metrics: metrics
            .iter()
            .map(|&tag| Metric {
                name: Some(MetricName {
                    tag: tag.to_owned(),
                }),
            })
            .collect(),
    };
    let cell = |content| Cell {
        content: Some(content),
    };
    let row = Row {
        settings: cells
            .into_iter()
            .map(|(name, content)| (name.clone(), cell(content)))
            .collect(),
    };
    let summary = |tag, data| {
        let data = PluginData { data: Some(data) };
        plugin(tag, PLUGIN, data.encode_to_vec())
    };
    [
        summary("_hparams_/experiment", Data::Experiment(columns)),
        summary("_hparams_/session_start_info", Data::SessionStart(row)),
    ]
}
