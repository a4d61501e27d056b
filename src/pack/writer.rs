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

/// A pack that is being written: a temporary file in the folder of `path` until [`PackWriter::finish`].
pub struct PackWriter {
    path: PathBuf,
    file: BufWriter<Temporary>,
    shape: ImageShape,
    offsets: Vec<i64>,
    metadata: PackMetadata,
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
            hasher: blake3::Hasher::new(),
            written: 0,
        };
        writer.write_header()?;
        let offsets: Vec<u8> = writer.offset_bytes();
        writer.write(&offsets)?;
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

    /// Writes the safetensors header: its length in 8 bytes, then JSON, padded with spaces to a multiple of 8.
    fn write_header(&mut self) -> Result<(), DataError> {
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
        let mut text = header.to_string();
        text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
        self.write(&(text.len() as u64).to_le_bytes())?;
        self.write(text.as_bytes())
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
            let problem = format!(
                "image {} has {} bytes, but an image of {} has {}",
                self.written,
                image.len(),
                self.shape,
                self.shape.bytes()
            );
            return Err(DataError::BadContent {
                path: self.path.clone(),
                problem,
            });
        }
        self.hasher.update(image);
        self.written += 1;
        self.write(image)
    }

    /// Completes the pack and moves it to its path, replacing an existing file.
    ///
    /// # Errors
    /// [`DataError::BadContent`] if images are missing, [`DataError::Io`] if writing fails. The temporary file is
    /// removed in either case.
    pub fn finish(mut self) -> Result<(), DataError> {
        if self.written != self.image_count() {
            let problem = format!(
                "it has {} images, expected {}",
                self.written,
                self.image_count()
            );
            return Err(DataError::BadContent {
                path: self.path,
                problem,
            });
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
