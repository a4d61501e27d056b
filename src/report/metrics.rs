//! `metrics.jsonl`: one object a line, `step` and tags.
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Appends; with `resumed_step`, lines after it (and a torn last line) are dropped first.
    pub(crate) fn open(path: &Path, resumed_step: Option<u64>) -> io::Result<Metrics> {
        if let Some(step) = resumed_step
            && path.exists()
        {
            drop_after(path, step)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Metrics {
            path: path.to_path_buf(),
            file,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&mut self, step: u64, scalars: &[(&str, f64)]) -> io::Result<()> {
        let mut object = serde_json::Map::new();
        object.insert("step".to_owned(), step.into());
        for (tag, value) in scalars {
            object.insert((*tag).to_owned(), (*value).into());
        }
        // One write a line, so that a kill tears at most the last one.
        let line = format!("{}\n", serde_json::Value::Object(object));
        self.file.write_all(line.as_bytes())
    }
}

fn drop_after(path: &Path, step: u64) -> io::Result<()> {
    let mut kept = String::new();
    for line in BufReader::new(File::open(path)?).lines() {
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
    crate::base::atomic::write(path, kept.as_bytes())
}
