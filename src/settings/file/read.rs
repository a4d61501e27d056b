//! Reads experiment files and merges each into the files that it extends.

use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

use crate::base::files;
use crate::settings::file::error::ConfigError;
use crate::settings::file::schema::Schema;
use crate::settings::tree::merge;

/// The key that names the file or files that a file extends.
const EXTENDS: &str = "extends";

/// Size in bytes of the largest experiment. One that sets every key of every layer is smaller, and aliases in a larger
/// one could take gigabytes.
pub(super) const LARGEST: u64 = 64 << 10;
/// How often files may be named by `extends`, all files together.
const MOST_FILES: usize = 100;
/// Length of the longest chain of files that extend each other.
const DEEPEST: usize = 32;

/// Reads the text of an experiment, without the mark that some editors put first.
///
/// # Errors
/// [`ConfigError::Read`] if the file is not a readable text in UTF-8 of at most 64 KiB.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let failed = |error| ConfigError::Read(path.to_path_buf(), error);
    let bytes = files::read(path, LARGEST).map_err(failed)?;
    let bytes = match &bytes[..] {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            let problem = "it is text in UTF-16\nhint: save it as UTF-8";
            return Err(failed(Error::new(ErrorKind::InvalidData, problem)));
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => rest.to_vec(),
        _ => bytes,
    };
    let problem = "it is not text in UTF-8\nhint: save it as UTF-8";
    String::from_utf8(bytes).map_err(|_| failed(Error::new(ErrorKind::InvalidData, problem)))
}

/// Reads the file at `path` and merges it into the files that it extends.
pub(super) fn read(
    path: &Path,
    schema: &Schema,
    faults: &mut Vec<String>,
) -> Result<Value, ConfigError> {
    let mut files = Files {
        schema,
        faults,
        open: Vec::new(),
        merged: HashMap::new(),
        named: 0,
    };
    files.read(path)
}

struct Files<'a> {
    schema: &'a Schema,
    faults: &'a mut Vec<String>,
    /// The files that are being read: each extends the one after it.
    open: Vec<PathBuf>,
    /// What was read from each file, so that a file that several extend is read once.
    merged: HashMap<PathBuf, Value>,
    named: usize,
}

impl Files<'_> {
    fn read(&mut self, path: &Path) -> Result<Value, ConfigError> {
        let failed = |error| ConfigError::Read(path.to_path_buf(), error);
        let canonical = path.canonicalize().map_err(failed)?;
        if self.open.contains(&canonical) {
            let files = self.open.iter().map(|path| path.display().to_string());
            let files = files.collect::<Vec<_>>().join(", ");
            return Err(ConfigError::Cycle(path.to_path_buf(), files));
        }
        self.named += 1;
        if self.named > MOST_FILES || self.open.len() > DEEPEST {
            return Err(ConfigError::TooMany(path.to_path_buf()));
        }
        if let Some(merged) = self.merged.get(&canonical) {
            return Ok(merged.clone());
        }
        let mut own = mapping(&read_text(path)?, path)?;
        let bases = self.bases(&mut own, path);
        self.open.push(canonical.clone());
        let mut merged = Value::Mapping(Mapping::new());
        for base in bases {
            let base = path
                .parent()
                .unwrap_or(Path::new(""))
                .join(files::at_home(Path::new(&base)));
            match self.read(&base) {
                Ok(value) => merge(&mut merged, value),
                Err(ConfigError::Read(base, error)) => {
                    let (base, origin) = (base.display(), path.display());
                    let fault = format!("{EXTENDS}: {base}: {error} ({origin})");
                    self.faults.push(fault.replace("\nhint: ", "; "));
                }
                Err(error) => return Err(error),
            }
        }
        self.open.pop();
        let origin = path.display().to_string();
        let own = self
            .schema
            .keep_valid(Value::Mapping(own), &origin, self.faults);
        merge(&mut merged, own);
        self.merged.insert(canonical, merged.clone());
        Ok(merged)
    }

    /// Takes the names of the files that a file extends out of it.
    fn bases(&mut self, own: &mut Mapping, path: &Path) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let bases = match own.remove(EXTENDS) {
            None => Some(Vec::new()),
            Some(Value::Sequence(bases)) => bases.iter().map(text).collect(),
            Some(base) => text(&base).map(|base| vec![base]),
        };
        bases.unwrap_or_else(|| {
            self.faults.push(format!(
                "{EXTENDS}: expected a file or a list of files ({})",
                path.display()
            ));
            Vec::new()
        })
    }
}

/// The top level of an experiment.
fn mapping(text: &str, path: &Path) -> Result<Mapping, ConfigError> {
    let wrong = |problem: String| ConfigError::Syntax(path.to_path_buf(), problem);
    match serde_yaml::from_str(text).map_err(|error| wrong(error.to_string()))? {
        Value::Mapping(mapping) => Ok(mapping),
        Value::Null => Err(ConfigError::Empty(path.to_path_buf())),
        _ => Err(wrong("expected `key: value` lines".to_owned())),
    }
}
