//! Writes packs image by image and atomically.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::base::atomic::{self, Temporary};
use crate::pack::error::DataError;
use crate::pack::pack::{HASH_KEY, METADATA_KEY, PackMetadata, whole_hash};
use crate::pack::shape::{Element, ImageShape};

/// Placeholder for the content hash, of the same length.
const HASH_TO_COME: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Room in the header, in bytes, for what [`PackWriter::note`] adds: texts of up to [`LONGEST_NOTE`] characters.
const ROOM: usize = 8192;
/// Most characters of a note that is added.
const LONGEST_NOTE: usize = 1000;

/// A pack that is being written: a temporary file in the folder of `path` until [`PackWriter::finish`].
pub struct PackWriter {
    path: PathBuf,
    file: BufWriter<Temporary>,
    shape: ImageShape,
    offsets: Vec<i64>,
    metadata: PackMetadata,
    header_length: usize,
    hasher: blake3::Hasher,
    written: usize,
}

impl PackWriter {
    /// Starts a pack. `class_sizes` is the number of images of each class; images must be pushed in this order.
    /// [`PackWriter::finish`] sets the content hash in `metadata`.
    ///
    /// # Errors
    /// [`DataError::Io`] if the file cannot be created, [`DataError::BadContent`] if a class has no name or no image.
    pub fn create(
        path: &Path,
        shape: ImageShape,
        class_sizes: &[usize],
        mut metadata: PackMetadata,
    ) -> Result<PackWriter, DataError> {
        if metadata.class_names.len() != class_sizes.len() || class_sizes.contains(&0) {
            let problem = "each class needs a name and at least one image".to_owned();
            return Err(DataError::BadContent {
                path: path.to_path_buf(),
                problem,
            });
        }
        metadata.content_hash = HASH_TO_COME.to_owned();
        let mut offsets = vec![0];
        let mut total = 0;
        for &size in class_sizes {
            total += size as i64;
            offsets.push(total);
        }
        let folder = atomic::folder_of(path);
        std::fs::create_dir_all(folder).map_err(DataError::io("create the folder of", path))?;
        atomic::sweep(folder);
        let temporary = Temporary::in_folder(folder).map_err(DataError::io("write", path))?;
        let mut writer = PackWriter {
            path: path.to_path_buf(),
            file: BufWriter::with_capacity(1 << 20, temporary),
            shape,
            offsets,
            metadata,
            header_length: 0,
            hasher: blake3::Hasher::new(),
            written: 0,
        };
        writer.header_length = (writer.header().len() + ROOM).next_multiple_of(8);
        writer.write_header()?;
        Ok(writer)
    }

    fn offset_bytes(&self) -> Vec<u8> {
        self.offsets
            .iter()
            .flat_map(|offset| offset.to_le_bytes())
            .collect()
    }

    fn image_count(&self) -> usize {
        self.offsets.last().map_or(0, |&count| count as usize)
    }

    /// Size of one image in bytes.
    pub(crate) fn image_bytes(&self) -> usize {
        self.shape.bytes()
    }

    fn header(&self) -> String {
        let offsets_end = self.offsets.len() * 8;
        let images_end = offsets_end + self.image_count() * self.shape.bytes();
        let ImageShape {
            height,
            width,
            channels,
            element,
        } = self.shape;
        let dtype = match element {
            Element::Byte => "U8",
            Element::Float => "F32",
        };
        let metadata = serde_json::to_string(&self.metadata).unwrap_or_default();
        let whole = whole_hash(&metadata, self.image_count(), self.shape);
        let header = json!({
            "__metadata__": { METADATA_KEY: metadata, HASH_KEY: whole },
            "class_offsets": { "dtype": "I64", "shape": [self.offsets.len()], "data_offsets": [0, offsets_end] },
            "images": {
                "dtype": dtype,
                "shape": [self.image_count(), height, width, channels],
                "data_offsets": [offsets_end, images_end],
            },
        });
        header.to_string()
    }

    /// Writes the safetensors header, its length in 8 bytes, then JSON, padded with spaces; and the offsets.
    fn write_header(&mut self) -> Result<(), DataError> {
        let mut text = self.header();
        let Some(padding) = self.header_length.checked_sub(text.len()) else {
            return Err(self.bad("its notes are too long".to_owned()));
        };
        text.push_str(&" ".repeat(padding));
        self.write(&(text.len() as u64).to_le_bytes())?;
        self.write(text.as_bytes())?;
        self.write(&self.offset_bytes())
    }

    fn bad(&self, problem: String) -> DataError {
        DataError::BadContent {
            path: self.path.clone(),
            problem,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file
            .write_all(bytes)
            .map_err(DataError::io("write", &self.path))
    }

    /// Appends an image, `[H, W, C]`.
    ///
    /// # Errors
    /// [`DataError::BadContent`] if it has the wrong number of bytes, [`DataError::Io`] if writing fails.
    pub fn push(&mut self, image: &[u8]) -> Result<(), DataError> {
        if image.len() != self.shape.bytes() {
            return Err(self.bad(format!(
                "image {} has {} bytes, but an image of {} has {}",
                self.written,
                image.len(),
                self.shape,
                self.shape.bytes()
            )));
        }
        self.hasher.update(image);
        self.written += 1;
        self.write(image)
    }

    /// Leaves out the image that would come next, one of those in `class_sizes`.
    pub(crate) fn pass_over(&mut self) {
        let next = self.written as i64;
        let later = self.offsets.iter_mut().filter(|offset| **offset > next);
        later.for_each(|offset| *offset -= 1);
    }

    /// Names of the classes all of whose images were passed over.
    pub(crate) fn emptied(&self) -> Vec<&str> {
        let ends = self.offsets.windows(2).zip(&self.metadata.class_names);
        ends.filter(|(ends, _)| ends[0] == ends[1])
            .map(|(_, name)| name.as_str())
            .collect()
    }

    /// Adds to a note in the metadata; a long text is cut.
    pub(crate) fn note(&mut self, key: &str, text: &str) {
        let note = self.metadata.notes.entry(key.to_owned()).or_default();
        if !note.is_empty() {
            note.push_str("; ");
        }
        note.extend(text.chars().take(LONGEST_NOTE));
    }

    /// Completes the pack and moves it to its path, replacing an existing file.
    ///
    /// # Errors
    /// [`DataError::BadContent`] if images or all of a class are missing, [`DataError::Io`] if writing fails. The temporary file is
    /// removed in either case.
    pub fn finish(mut self) -> Result<(), DataError> {
        if self.written != self.image_count() || !self.emptied().is_empty() {
            return Err(self.bad(format!(
                "it has {} images, expected {} and one or more in each class",
                self.written,
                self.image_count()
            )));
        }
        let offsets = self.offset_bytes();
        self.hasher.update(&offsets);
        self.metadata.content_hash = self.hasher.finalize().to_hex().to_string();
        let path = self.path.clone();
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(DataError::io("write", &path))?;
        self.write_header()?;
        let file = self.file.into_inner().map_err(|error| error.into_error());
        let file = file.map_err(DataError::io("write", &path))?;
        file.persist(&path).map_err(DataError::io("write", &path))
    }
}
