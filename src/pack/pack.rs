//! Reads a pack: a data set in one safetensors file, which is memory-mapped and never read as a whole.
//!
//! The file has the tensors `images`, u8 `[N, H, W, C]` sorted by class (f32 `[N, 1, 1, D]` for embeddings), and
//! `class_offsets`, i64 `[classes + 1]`. Its metadata holds a JSON object, [`PackMetadata`], under `pack`. Python reads
//! the same file with `safetensors.numpy`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::base::files;
use crate::base::resident::{FAULT_AROUND, release_pages};
use crate::pack::error::{DataError, list_names};
use crate::pack::part::Part;
use crate::pack::shape::{Element, ImageShape};
use crate::pack::splits::SplitScheme;

/// Key of the JSON object in the file's metadata.
pub(crate) const METADATA_KEY: &str = "pack";

/// Key of [`whole_hash`] in the file's metadata. Packs of earlier versions do not have it.
pub(crate) const HASH_KEY: &str = "whole_hash";

/// How much is hashed before its pages are given back.
const HASHED_AT_ONCE: usize = 64 << 20;

/// BLAKE3, in hexadecimal, of the whole of a pack: its description as text, in which `content_hash` stands for pixels and
/// class sizes, and the number and shape of its images.
pub(crate) fn whole_hash(description: &str, images: usize, shape: ImageShape) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(description.as_bytes());
    for length in [images, shape.height, shape.width, shape.channels] {
        hasher.update(&(length as u64).to_le_bytes());
    }
    hasher.update(match shape.element {
        Element::Byte => b"U8 ",
        Element::Float => b"F32",
    });
    hasher.finalize().to_hex().to_string()
}

/// Key of the note on what is missing from a published data set.
pub const PARTIAL: &str = "partial";
/// Key of the note on the user's broken pictures that are not in the pack.
pub const BROKEN: &str = "broken";
/// Key of the note on pictures that show nothing.
pub const BLANK: &str = "blank";

/// Description of a pack, stored in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackMetadata {
    /// Name of the data set.
    pub name: String,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Class splits by name.
    pub splits: BTreeMap<String, SplitScheme>,
    /// Name of the split that is used when an experiment names none.
    pub default_split: String,
    /// Where the images come from.
    pub source: String,
    /// Terms of use.
    pub licence: String,
    /// BLAKE3 of the image bytes, then of the class offsets (little-endian i64), in hexadecimal.
    pub content_hash: String,
    /// Details of the import, such as the seed of the split and the resize filter.
    pub notes: BTreeMap<String, String>,
}

/// Bytes of the file that this process may read before it releases the mapped pages, so that a pack may be larger than
/// memory. The kernel keeps released pages cached while there is room.
const RESIDENT: usize = 256 << 20;

/// An open, memory-mapped pack.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    file: File,
    /// When the file was last written, and its size.
    written: Option<(SystemTime, u64)>,
    map: Mmap,
    read: AtomicUsize,
    resident: usize,
    images: Range<usize>,
    offsets: Vec<usize>,
    shape: ImageShape,
    metadata: PackMetadata,
    whole_hash: Option<String>,
}

impl Pack {
    /// Maps the file and checks its header, without reading pixels.
    ///
    /// # Errors
    /// [`DataError::Io`] if the file cannot be opened, [`DataError::BadPack`] if it is not a complete, consistent pack.
    pub fn open(path: &Path) -> Result<Pack, DataError> {
        let bad = |problem: String| DataError::BadPack {
            path: path.to_path_buf(),
            problem,
        };
        let file = files::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => DataError::NoPack(path.to_path_buf()),
            _ => DataError::io("open", path)(error),
        })?;
        let written = last_written(&file);
        // SAFETY: packs are replaced by renaming. If one is modified in place all the same, `check_unchanged` finds it.
        let map = unsafe { Mmap::map(&file) }.map_err(DataError::io("map", path))?;
        let (header_length, header) =
            SafeTensors::read_metadata(&map).map_err(|error| bad(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&map).map_err(|error| bad(error.to_string()))?;
        let images = tensors
            .tensor("images")
            .map_err(|_| bad("the tensor `images` is missing".to_owned()))?;
        let &[count, height, width, channels] = images.shape() else {
            return Err(bad(format!(
                "`images` has shape {:?}, expected [N, H, W, C]",
                images.shape()
            )));
        };
        let element = match (images.dtype(), height, width) {
            (Dtype::U8, ..) => Element::Byte,
            (Dtype::F32, 1, 1) => Element::Float,
            (kind, ..) => {
                return Err(bad(format!(
                    "`images` has element type {kind:?} and size {height}×{width}, expected U8, or F32 of size 1×1"
                )));
            }
        };
        if height * width * channels == 0 {
            return Err(bad(format!(
                "`images` has shape {:?}, expected at least one pixel",
                images.shape()
            )));
        }
        let start = images.data().as_ptr() as usize - map.as_ptr() as usize;
        debug_assert!(start > header_length);
        let images = start..start + images.data().len();
        let offsets = tensors
            .tensor("class_offsets")
            .map_err(|_| bad("the tensor `class_offsets` is missing".to_owned()))?;
        if offsets.dtype() != Dtype::I64 {
            return Err(bad(format!(
                "`class_offsets` has element type {:?}, expected I64",
                offsets.dtype()
            )));
        }
        let offsets: Vec<i64> = offsets
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| i64::from_le_bytes(*bytes))
            .collect();
        let rising = offsets.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || offsets.first() != Some(&0) || offsets.last() != Some(&(count as i64)) {
            return Err(bad(format!(
                "`class_offsets` does not increase strictly from 0 to {count}"
            )));
        }
        let entry = |key| header.metadata().as_ref().and_then(|all| all.get(key));
        let text = entry(METADATA_KEY);
        let text = text.ok_or_else(|| bad(format!("its metadata has no key `{METADATA_KEY}`")))?;
        let shape = ImageShape {
            height,
            width,
            channels,
            element,
        };
        let whole = entry(HASH_KEY).cloned();
        if whole
            .as_ref()
            .is_some_and(|hash| *hash != whole_hash(text, count, shape))
        {
            return Err(DataError::Changed(path.to_path_buf()));
        }
        let metadata: PackMetadata = serde_json::from_str(text)
            .map_err(|error| bad(format!("metadata `{METADATA_KEY}`: {error}")))?;
        let classes = offsets.len() - 1;
        if metadata.class_names.len() != classes {
            let names = metadata.class_names.len();
            return Err(bad(format!(
                "`class_names` has {names} names for {classes} classes"
            )));
        }
        for (scheme, split) in &metadata.splits {
            if let Some(fault) = split.fault(classes) {
                return Err(bad(format!("split `{scheme}`: {fault}")));
            }
        }
        Ok(Pack {
            path: path.to_path_buf(),
            file,
            written,
            images,
            offsets: offsets.into_iter().map(|offset| offset as usize).collect(),
            shape,
            metadata,
            whole_hash: whole,
            map,
            read: AtomicUsize::new(0),
            resident: RESIDENT,
        })
    }

    /// Checks that the file was not modified since it was opened. What was read before is then right.
    ///
    /// # Errors
    /// [`DataError::Overwritten`] if it was.
    pub fn check_unchanged(&self) -> Result<(), DataError> {
        match last_written(&self.file) == self.written {
            true => Ok(()),
            false => Err(DataError::Overwritten(self.path.clone())),
        }
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shape of each image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// N, number of images.
    pub fn image_count(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Number of classes.
    pub fn class_count(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Indices of the images of `class`.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn class_range(&self, class: usize) -> Range<usize> {
        self.offsets[class]..self.offsets[class + 1]
    }

    /// Class of image `image`.
    pub fn class_of(&self, image: usize) -> usize {
        self.offsets.partition_point(|&start| start <= image) - 1
    }

    /// Bytes of image `index`, `[H, W, C]`.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn image(&self, index: usize) -> &[u8] {
        let length = self.shape.bytes();
        self.count_read(length.max(FAULT_AROUND));
        &self.map[self.images.clone()][index * length..(index + 1) * length]
    }

    /// Counts bytes that were read, and releases the mapped pages whenever [`RESIDENT`] bytes have been read.
    fn count_read(&self, bytes: usize) {
        if self.map.len() <= self.resident {
            return;
        }
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        if before / self.resident != (before + bytes) / self.resident {
            release_pages(&self.map, 0..self.map.len());
        }
    }

    /// Hashes the contents as [`PackMetadata::content_hash`] does.
    pub(crate) fn hash_contents(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in self.map[self.images.clone()].chunks(HASHED_AT_ONCE) {
            hasher.update_rayon(part);
            self.count_read(part.len());
        }
        for &offset in &self.offsets {
            hasher.update(&(offset as i64).to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Hash of the whole pack, its names and splits included; `None` if an earlier version wrote it.
    pub fn whole_hash(&self) -> Option<&str> {
        self.whole_hash.as_deref()
    }

    /// The stored description.
    pub fn metadata(&self) -> &PackMetadata {
        &self.metadata
    }

    /// Classes of one part of the split `scheme`.
    ///
    /// # Errors
    /// [`DataError::UnknownSplit`] if the pack has no split of this name.
    pub fn split(&self, scheme: &str, part: Part) -> Result<&[usize], DataError> {
        let splits = &self.metadata.splits;
        if let Some(split) = splits.get(scheme) {
            return Ok(split.part(part));
        }
        let near = splits
            .keys()
            .find(|name| strsim::damerau_levenshtein(name, scheme) <= 2);
        Err(DataError::UnknownSplit {
            path: self.path.clone(),
            scheme: scheme.to_owned(),
            known: list_names(splits.keys(), 10),
            hint: near.map_or_else(String::new, |name| {
                format!("\nhint: did you mean `{name}`?")
            }),
        })
    }
}

/// When a file was last written, and its size; `None` if the system does not tell.
fn last_written(file: &File) -> Option<(SystemTime, u64)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::sources::synthetic::{SyntheticOptions, write_synthetic_pack};

    /// Resident memory of the mapped file in KiB, as the kernel reports it.
    fn resident_kib(path: &Path) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let of_file = maps.split_once(&path.display().to_string()).unwrap().1;
        let line = of_file.lines().find(|line| line.starts_with("Rss:"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }

    #[test]
    fn pages_that_were_read_are_released() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("glyphs.safetensors");
        let options = SyntheticOptions {
            classes: 200,
            ..SyntheticOptions::default()
        };
        write_synthetic_pack(&path, &options).unwrap();
        let mut pack = Pack::open(&path).unwrap();
        let read = |pack: &Pack| {
            (0..pack.image_count()).for_each(|image| {
                std::hint::black_box(pack.image(image)[0]);
            });
            resident_kib(&path)
        };
        let all = read(&pack);
        assert!(all > 2500, "{all} KiB of {} images", pack.image_count());
        pack.resident = 16 * FAULT_AROUND;
        let some = read(&pack);
        assert!(some <= 1100 + 64, "{some} KiB");
    }
}
