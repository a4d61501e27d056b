//! `metrics.jsonl`: one JSON object a line, with the key `step` and one key per recorded number.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use crate::base::{atomic, files};
use crate::report::averages::Averages;

pub(crate) struct MetricsFile {
    file: File,
}

impl MetricsFile {
    /// Opens the file for appending. With `resumed_step`, first drops the lines after that step and a last line that is
    /// incomplete.
    pub(crate) fn open(path: &Path, resumed_step: Option<u64>) -> io::Result<MetricsFile> {
        if let Some(step) = resumed_step
            && path.exists()
        {
            drop_after(path, step)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(MetricsFile { file })
    }

    pub(crate) fn write(&mut self, step: u64, averages: &Averages) -> io::Result<()> {
        let mut object = serde_json::Map::new();
        object.insert("step".to_owned(), step.into());
        for scalar in averages.scalars() {
            object.insert(scalar.tag.to_owned(), scalar.value.into());
        }
        // A single write per line, so that a killed process leaves at most the last line incomplete.
        let line = format!("{}\n", serde_json::Value::Object(object));
        self.file.write_all(line.as_bytes())
    }
}

fn drop_after(path: &Path, step: u64) -> io::Result<()> {
    let mut kept = String::new();
    for line in BufReader::new(files::open(path)?).lines() {
        let line = line?;
        let object: Option<serde_json::Value> = serde_json::from_str(&line).ok();
        let at = object
            .as_ref()
            .and_then(|object| object.get("step")?.as_u64());
        if at.is_some_and(|at| at <= step) {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    atomic::write(path, kept.as_bytes())
}
