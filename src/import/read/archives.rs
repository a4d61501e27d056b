//! Lists of the files in zip and tar archives.

use std::io::{Cursor, Read};

use tar::{Archive, EntryType, Header};
use zip::ZipArchive;
use zip::result::ZipError;

use crate::import::read::mapped::Slice;
use crate::pictures::kinds::{Kind, START};

/// Size of a tar's blocks in bytes.
const BLOCK: usize = 512;

/// Reads the directory of a zip archive and compares it with the headers beside the files, so that a damaged directory
/// neither loses files nor renames them.
///
/// # Errors
/// If it is not a zip archive or is damaged; the text follows the file's name in the message.
pub(crate) fn open_zip(slice: Slice) -> Result<ZipArchive<Cursor<Slice>>, String> {
    let mut archive = ZipArchive::new(Cursor::new(slice)).map_err(|error| damaged_zip(&error))?;
    archive
        .validate_header_consistency()
        .map_err(|error| damaged_zip(&error))?;
    Ok(archive)
}

fn damaged_zip(error: &ZipError) -> String {
    format!("is cut short or damaged ({error}): fetch it again")
}

/// Indices and names of the files in a zip archive, with `/` between folders.
///
/// # Errors
/// If the archive is damaged; the text follows its name in the message.
pub(crate) fn zip_names(
    archive: &mut ZipArchive<Cursor<Slice>>,
) -> Result<Vec<(usize, String)>, String> {
    let mut names = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let entry = archive
            .by_index_raw(index)
            .map_err(|error| damaged_zip(&error))?;
        let name = entry.name().map_err(|error| damaged_zip(&error))?;
        names.push((index, name.into_owned()));
    }
    // PowerShell 5 separates folders so. In other archives a backslash is a letter, or half of one in Japanese.
    if names.iter().all(|(_, name)| !name.contains('/')) {
        for (_, name) in &mut names {
            *name = name.replace('\\', "/");
        }
    }
    names.retain(|(_, name)| !name.ends_with('/'));
    Ok(names)
}

/// What an entry of a zip archive is, by its name and, where that says nothing, by its first bytes.
///
/// # Errors
/// If the entry is damaged; the text follows the archive's name in the message.
pub(crate) fn zip_kind(
    archive: &mut ZipArchive<Cursor<Slice>>,
    index: usize,
    name: &str,
) -> Result<Kind, String> {
    if let Some(kind) = Kind::of_name(name) {
        return Ok(kind);
    }
    let mut start = Vec::new();
    let entry = archive
        .by_index(index)
        .map_err(|error| damaged_zip(&error))?;
    entry
        .take(START as u64)
        .read_to_end(&mut start)
        .map_err(|error| format!("is damaged at {name} ({error}): fetch it again"))?;
    Ok(Kind::of_start(&start))
}

/// An entry of a tar archive that is not a folder.
pub(crate) struct TarEntry {
    pub name: Vec<u8>,
    /// `None` for links.
    pub content: Option<Slice>,
}

/// Whether this is a tar archive: by the mark of newer ones, or by the checksum of the first header.
pub(crate) fn is_tar(content: &[u8]) -> bool {
    let Some(block) = content.get(..BLOCK) else {
        return false;
    };
    let sum = block.iter().enumerate().map(|(place, &byte)| match place {
        // The checksum counts as blanks.
        148..156 => u32::from(b' '),
        _ => u32::from(byte),
    });
    let header = Header::from_byte_slice(block);
    block[257..262] == *b"ustar"
        || header
            .cksum()
            .is_ok_and(|stored| stored == sum.sum::<u32>())
}

/// Calls `take` with each entry of a tar archive.
///
/// # Errors
/// If the archive is truncated or damaged, or `take` fails; `bad` makes an error from the text that follows its name.
pub(crate) fn tar_entries<E>(
    slice: &Slice,
    bad: impl Fn(String) -> E,
    mut take: impl FnMut(TarEntry) -> Result<(), E>,
) -> Result<(), E> {
    let damaged =
        |error: std::io::Error| bad(format!("is cut short or damaged ({error}): fetch it again"));
    let mut archive = Archive::new(Cursor::new(slice.as_ref()));
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let start = entry.raw_file_position() as usize;
        let size = entry.size() as usize;
        end = start.saturating_add(size).next_multiple_of(BLOCK);
        let name = entry.path_bytes().into_owned();
        let content = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let content = slice.part(start, size).ok_or_else(|| {
                    let name = String::from_utf8_lossy(&name);
                    bad(format!("is cut short at {name}: fetch it again"))
                })?;
                Some(content)
            }
            EntryType::Link | EntryType::Symlink => None,
            _ => continue,
        };
        // Old tars mark folders by their names only.
        if !name.ends_with(b"/") {
            take(TarEntry { name, content })?;
        }
    }
    // A tar truncated between two files looks complete except for the zeros that end every tar.
    match slice.as_ref().get(end..end.saturating_add(BLOCK)) {
        Some(block) if block.iter().all(|&byte| byte == 0) => Ok(()),
        _ => Err(bad(
            "is cut short (it has no end mark): fetch it again".to_owned()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use zip::write::SimpleFileOptions;

    use super::*;

    /// Names and contents of a zip archive, or `None` if it is refused.
    fn listed(path: &Path) -> Option<Vec<(String, Vec<u8>)>> {
        let mut archive = open_zip(Slice::open(path).ok()?).ok()?;
        let mut files = Vec::new();
        for (index, name) in zip_names(&mut archive).ok()? {
            let mut content = Vec::new();
            let mut entry = archive.by_index(index).ok()?;
            entry.read_to_end(&mut content).ok()?;
            files.push((name, content));
        }
        files.sort();
        Some(files)
    }

    #[test]
    fn no_flipped_bit_in_the_directory_of_a_zip_loses_or_renames_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for number in 0..40_u8 {
            let name = format!("class{}/{number}.png", number / 4);
            // Unpacking takes longer than all else here.
            let options =
                SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            writer.start_file(name, options).unwrap();
            writer.write_all(&[number; 50]).unwrap();
        }
        let whole = writer.finish().unwrap().into_inner();
        std::fs::write(&path, &whole).unwrap();
        let expected = listed(&path).unwrap();
        assert_eq!(expected.len(), 40);
        let directory = whole
            .windows(4)
            .position(|four| four == b"PK\x01\x02")
            .unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let mut refused = 0;
        for bit in 8 * directory..8 * whole.len() {
            let (byte, mask) = (bit / 8, 1 << (bit % 8));
            file.write_all_at(&[whole[byte] ^ mask], byte as u64)
                .unwrap();
            match listed(&path) {
                None => refused += 1,
                Some(found) => assert!(found == expected, "bit {bit}: {found:?}"),
            }
            file.write_all_at(&[whole[byte]], byte as u64).unwrap();
        }
        assert!(refused > 40 * 8 * 12, "names alone have as many bits");
    }
}
