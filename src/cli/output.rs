//! Protection of existing files: a command replaces its own earlier results and nothing else.

use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::ensure;
use hypertransformer::base::files;
use serde_json::Value;

/// How much of a file is read to recognise it. A summary is shorter.
const HEAD: u64 = 1 << 20;
/// The first bytes of every PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Checks that `path` does not exist or is an earlier result, which `is_one` recognises by the beginning of the file.
/// `what` names the kind of result.
///
/// # Errors
/// If it is something else.
pub(super) fn ensure_replaceable(
    path: &Path,
    what: &str,
    is_one: impl Fn(&[u8]) -> bool,
) -> anyhow::Result<()> {
    let mut head = Vec::new();
    let read = files::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    let replaceable = match read {
        Ok(_) => is_one(&head),
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    ensure!(
        replaceable,
        "{} exists and is not {what}\nhint: name another file with --output",
        path.display()
    );
    Ok(())
}

pub(super) fn is_png(head: &[u8]) -> bool {
    head.starts_with(PNG)
}

/// Whether this is a JSON object, or one object a line, and the first has this key.
pub(super) fn has_key(head: &[u8], key: &str) -> bool {
    let first = serde_json::Deserializer::from_slice(head)
        .into_iter::<Value>()
        .next();
    first.is_some_and(|found| found.is_ok_and(|found| found.get(key).is_some()))
}
