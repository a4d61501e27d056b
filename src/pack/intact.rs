//! Whether the contents of a pack are those that it was written with. A pack that was hashed once is known by its place,
//! size and times afterwards, so that runs do not hash gigabytes each time they start.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::{atomic, files};
use crate::pack::error::DataError;
use crate::pack::pack::Pack;

/// How many packs are remembered; the one hashed longest ago is forgotten first.
const MOST_REMEMBERED: usize = 256;

/// A pack whose contents were hashed, and the state of its file at that time.
#[derive(PartialEq, Serialize, Deserialize)]
struct Hashed {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change of the contents, then of the file's properties.
    times: [i64; 4],
    content_hash: String,
}

impl Hashed {
    fn new(path: PathBuf, facts: &Metadata, content_hash: &str) -> Hashed {
        Hashed {
            path,
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.size(),
            times: [
                facts.mtime(),
                facts.mtime_nsec(),
                facts.ctime(),
                facts.ctime_nsec(),
            ],
            content_hash: content_hash.to_owned(),
        }
    }
}

/// Checks that the images and classes of a pack are those that were written. They are not hashed again if that was done
/// before and the file looks the same, unless `always` is set.
///
/// # Errors
/// [`DataError::HashMismatch`] if they differ, [`DataError::Io`] if the file is gone.
pub fn ensure_intact(pack: &Pack, always: bool) -> Result<(), DataError> {
    let path = pack.path();
    let facts = std::fs::metadata(path).map_err(DataError::io("open", path))?;
    let place = path.canonicalize().map_err(DataError::io("open", path))?;
    let now = Hashed::new(place, &facts, &pack.metadata().content_hash);
    let mut known = remembered();
    if !always && known.contains(&now) {
        return Ok(());
    }
    check_contents(pack)?;
    known.retain(|earlier| earlier.path != now.path);
    known.push(now);
    let surplus = known.len().saturating_sub(MOST_REMEMBERED);
    known.drain(..surplus);
    remember(&known);
    Ok(())
}

/// Hashes the images and classes of a pack and checks that they are those that were written.
///
/// # Errors
/// [`DataError::HashMismatch`] if they differ.
pub fn check_contents(pack: &Pack) -> Result<(), DataError> {
    let found = pack.hash_contents();
    let expected = &pack.metadata().content_hash;
    match found == *expected {
        true => Ok(()),
        false => Err(DataError::HashMismatch {
            path: pack.path().to_path_buf(),
            expected: expected.clone(),
            found,
        }),
    }
}

/// Where hashed packs are remembered: in the user's cache folder, or nowhere.
fn memory() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let absolute = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = absolute.or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("hypertransformer/packs.json"))
}

fn remembered() -> Vec<Hashed> {
    let read = || {
        let text = files::read(&memory()?, files::LARGEST_TABLE).ok()?;
        serde_json::from_slice(&text).ok()
    };
    // Without a memory, or with a damaged one, packs are hashed.
    read().unwrap_or_default()
}

fn remember(known: &[Hashed]) {
    if let (Some(path), Ok(text)) = (memory(), serde_json::to_vec_pretty(known)) {
        // If it cannot be written, packs are hashed again.
        let _ = atomic::write(&path, &text);
    }
}
