//! What a file is, by its name and, where the name says nothing, by its first bytes; and what systems leave in folders.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;

use image::ImageFormat;

use crate::base::files;

/// The formats that the decoder reads, for messages.
pub(crate) const READ: &str = "JPEG, PNG, BMP, GIF, TIFF or WebP";
/// How many bytes from its start tell what a file is.
pub(crate) const START: usize = 512;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A picture in a format that the decoder reads.
    Picture,
    /// A picture in another format, with its name.
    Foreign(&'static str),
    /// A zip, tar or tar.gz archive.
    Archive,
    /// An archive that the user has to unpack, and the command for it.
    Packed(&'static str),
    /// A part of an archive that was cut up, and what makes it whole.
    Part(&'static str),
    /// Text that stands for a file which Git LFS has not fetched.
    LfsPointer,
    /// A page that a server sent instead of a file.
    Html,
    /// Anything else.
    Other,
}

const PICTURES: [&str; 11] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff",
];

/// Extensions of pictures that are not read, by the name of their format.
const FOREIGN: [(&str, &[&str]); 15] = [
    ("HEIC", &["heic", "heif", "hif"]),
    ("AVIF", &["avif"]),
    ("JPEG XL", &["jxl"]),
    ("JPEG 2000", &["jp2", "j2k", "jpx", "jpf", "jpc"]),
    ("SVG", &["svg", "svgz"]),
    (
        "RAW",
        &[
            "raw", "dng", "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2", "orf", "rw2",
            "raf", "pef", "srw", "3fr", "iiq", "x3f",
        ],
    ),
    ("Photoshop", &["psd", "psb"]),
    ("GIMP", &["xcf"]),
    ("DICOM", &["dcm", "dicom"]),
    ("Netpbm", &["ppm", "pgm", "pbm", "pnm", "pam"]),
    ("TGA", &["tga"]),
    ("ICO", &["ico"]),
    ("OpenEXR", &["exr"]),
    ("PCX", &["pcx"]),
    ("QOI", &["qoi"]),
];

/// Endings of archives that are read.
const ARCHIVES: [&str; 4] = [".zip", ".tar", ".tar.gz", ".tgz"];

/// Endings of archives that the user has to unpack, with the command.
const PACKED: [(&[&str], &str); 6] = [
    (&[".tar.bz2", ".tar.bz", ".tbz2", ".tbz"], "tar xjf"),
    (&[".tar.xz", ".txz"], "tar xJf"),
    (&[".tar.zst", ".tzst"], "tar --zstd -xf"),
    (&[".tar.lz", ".tlz"], "tar --lzip -xf"),
    (&[".7z"], "7z x"),
    (&[".rar"], "unrar x"),
];

const JOIN: &str = "join them with `cat PARTS > ARCHIVE`, in the order of their names";
const JOIN_ZIP: &str = "join them with `zip -s 0 NAME.zip --out ARCHIVE.zip`";
const UNRAR: &str = "unpack the first part with `unrar x`, which finds the others";

/// What systems leave in folders, in lower case; beside it every hidden name.
const LEFT_BY_SYSTEMS: [&str; 15] = [
    "@eadir",
    "@__thumb",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "__macosx",
    "thumbs.db",
    "thumbs.db:encryptable",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
    "lost+found",
];

/// Whether a file or folder of this name is something that a system left, or hidden; in any case of its letters. `part`
/// is one part of a path.
pub(crate) fn left_by_system(part: &str) -> bool {
    (part.starts_with('.') && part != ".")
        || LEFT_BY_SYSTEMS.contains(&part.to_lowercase().as_str())
}

/// A path without the ending of an archive that is read.
pub(crate) fn archive_stem(path: &str) -> &str {
    let cut = ARCHIVES.iter().find_map(|ending| {
        let (stem, found) = path.split_at_checked(path.len().checked_sub(ending.len())?)?;
        found.eq_ignore_ascii_case(ending).then_some(stem)
    });
    cut.unwrap_or(path)
}

impl Kind {
    /// The kind that the name of a file tells; `None` if the name says nothing. `name` may be a path with `/`.
    pub(crate) fn of_name(name: &str) -> Option<Kind> {
        let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
        if ARCHIVES.iter().any(|ending| name.ends_with(ending)) {
            return Some(Kind::Archive);
        }
        let packed = PACKED
            .iter()
            .find(|(endings, _)| endings.iter().any(|ending| name.ends_with(ending)));
        if let Some((_, command)) = packed {
            return Some(Kind::Packed(command));
        }
        if let Some(whole) = part_of_archive(&name) {
            return Some(Kind::Part(whole));
        }
        let (_, extension) = name.rsplit_once('.')?;
        if PICTURES.contains(&extension) {
            return Some(Kind::Picture);
        }
        let foreign = FOREIGN
            .iter()
            .find(|(_, extensions)| extensions.contains(&extension));
        if let Some((format, _)) = foreign {
            return Some(Kind::Foreign(format));
        }
        match extension {
            "html" | "htm" => Some(Kind::Html),
            // `photo.2024-01-05` has no extension, but `notes.txt` and `images.npz` have.
            _ if extension.len() <= 5 && extension.starts_with(char::is_alphabetic) => {
                Some(Kind::Other)
            }
            _ => None,
        }
    }

    /// The kind that the first [`START`] bytes of a file tell.
    pub(crate) fn of_start(start: &[u8]) -> Kind {
        let has = |place: usize, bytes: &[u8]| start.get(place..place + bytes.len()) == Some(bytes);
        if let Some(kind) = text_kind(start) {
            return kind;
        }
        if has(4, b"ftyp") {
            let brand = start.get(8..12).unwrap_or_default();
            return match brand {
                b"avif" | b"avis" => Kind::Foreign("AVIF"),
                b"crx " => Kind::Foreign("RAW"),
                b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => {
                    Kind::Foreign("HEIC")
                }
                // Mostly films.
                _ => Kind::Other,
            };
        }
        for (magic, kind) in [
            (&b"PK\x03\x04"[..], Kind::Archive),
            (b"\x1f\x8b", Kind::Archive),
            (b"BZh", Kind::Packed("tar xjf")),
            (b"\xfd7zXZ\0", Kind::Packed("tar xJf")),
            (b"\x28\xb5\x2f\xfd", Kind::Packed("tar --zstd -xf")),
            (b"7z\xbc\xaf\x27\x1c", Kind::Packed("7z x")),
            (b"Rar!", Kind::Packed("unrar x")),
            (b"\0\0\0\x0cjP  ", Kind::Foreign("JPEG 2000")),
            (b"\xff\x4f\xff\x51", Kind::Foreign("JPEG 2000")),
            (b"\0\0\0\x0cJXL ", Kind::Foreign("JPEG XL")),
            (b"\xff\x0a", Kind::Foreign("JPEG XL")),
            (b"8BPS", Kind::Foreign("Photoshop")),
            (b"gimp xcf", Kind::Foreign("GIMP")),
        ] {
            if has(0, magic) {
                return kind;
            }
        }
        if has(257, b"ustar") {
            return Kind::Archive;
        }
        match image::guess_format(start) {
            // Text may begin with BM; a bitmap has four zeros here.
            Ok(ImageFormat::Bmp) if !has(6, &[0; 4]) => Kind::Other,
            Ok(
                ImageFormat::Jpeg
                | ImageFormat::Png
                | ImageFormat::Bmp
                | ImageFormat::Gif
                | ImageFormat::Tiff
                | ImageFormat::WebP,
            ) => Kind::Picture,
            Ok(ImageFormat::Avif) => Kind::Foreign("AVIF"),
            Ok(ImageFormat::OpenExr) => Kind::Foreign("OpenEXR"),
            Ok(ImageFormat::Qoi) => Kind::Foreign("QOI"),
            Ok(ImageFormat::Ico) => Kind::Foreign("ICO"),
            _ => Kind::Other,
        }
    }

    /// The kind of a file on disk: by its name or, where that says nothing, by its first bytes. A file that cannot be
    /// opened is [`Kind::Other`].
    pub(crate) fn of_file(path: &Path) -> Kind {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Kind::of_name(&name).unwrap_or_else(|| {
            let mut start = Vec::new();
            let read =
                files::open(path).and_then(|file| file.take(START as u64).read_to_end(&mut start));
            read.map_or(Kind::Other, |_| Kind::of_start(&start))
        })
    }

    /// Why a file of this kind is not read and what to do, to follow the file's name in a message; `None` for pictures
    /// and archives, which are read, and for files of no known kind.
    pub(crate) fn problem(self) -> Option<String> {
        let problem = match self {
            Kind::Picture | Kind::Archive | Kind::Other => return None,
            Kind::Foreign(format) => {
                format!(
                    "is a picture in the format {format}, which is not read: convert it to JPEG or PNG"
                )
            }
            Kind::Packed(command) => {
                format!("is an archive that is not read: unpack it with `{command}`")
            }
            Kind::Part(whole) => format!("is a part of a split archive: {whole}"),
            Kind::LfsPointer => {
                "is a Git LFS pointer, not the file itself: fetch the files with `git lfs pull`"
                    .to_owned()
            }
            Kind::Html => {
                "is an HTML page: the download went wrong, fetch it again in a browser".to_owned()
            }
        };
        Some(problem)
    }
}

/// What a file is of which many are passed over, for counts: "3 HEIC pictures".
impl Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Picture => formatter.write_str("picture"),
            Kind::Foreign(format) => write!(formatter, "picture in the format {format}"),
            Kind::Archive => formatter.write_str("archive"),
            Kind::Packed(_) => formatter.write_str("archive of another kind"),
            Kind::Part(_) => formatter.write_str("part of a split archive"),
            Kind::LfsPointer => formatter.write_str("Git LFS pointer"),
            Kind::Html => formatter.write_str("HTML page"),
            Kind::Other => formatter.write_str("other file"),
        }
    }
}

/// The kind of a text, by its start; `None` for anything else.
fn text_kind(start: &[u8]) -> Option<Kind> {
    let start = &start[..start.len().min(START)];
    let text = String::from_utf8_lossy(start).to_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if text.starts_with("version https://git-lfs.github.com/spec/") {
        return Some(Kind::LfsPointer);
    }
    if !text.starts_with('<') {
        return None;
    }
    if text.contains("<svg") {
        return Some(Kind::Foreign("SVG"));
    }
    (text.starts_with("<!doctype") || text.starts_with("<html")).then_some(Kind::Html)
}

/// How the parts of an archive become whole again, if `name` (in lower case) is that of one: `a.zip.001`, `a.z01`,
/// `a.tar.gz01`, `a.tgz.part1`, `a.tar.aa`, `a.r00`, `a.part1`.
fn part_of_archive(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // `split` begins with `aa`.
    let letters = |text: &str| matches!(text.as_bytes(), [b'a', b'a'..=b'z']);
    let numbered = |text: &str| digits(text) || letters(text);
    let part = |text: &str| text.strip_prefix("part").is_some_and(numbered);
    let two_digits = |letter: char| {
        extension
            .strip_prefix(letter)
            .is_some_and(|rest| rest.len() == 2 && digits(rest))
    };
    if two_digits('r') {
        return Some(UNRAR);
    }
    if two_digits('z') {
        return Some(JOIN_ZIP);
    }
    let endings = PACKED.iter().flat_map(|(endings, _)| endings.iter());
    let mut after_ending = ARCHIVES
        .iter()
        .chain(endings)
        .filter_map(|ending| Some(name.rsplit_once(ending)?.1))
        .map(|rest| rest.trim_start_matches(['.', '-', '_']));
    (part(extension) || after_ending.any(|rest| numbered(rest) || part(rest))).then_some(JOIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_pictures_archives_and_parts() {
        for name in ["a.JPG", "b/c.jfif", "d.WebP", "e.tif", "f.dib"] {
            assert_eq!(Kind::of_name(name), Some(Kind::Picture), "{name}");
        }
        for name in ["a.zip", "b.tar", "c.tar.gz", "d.TGZ"] {
            assert_eq!(Kind::of_name(name), Some(Kind::Archive), "{name}");
        }
        for name in [
            "a.zip.001",
            "a.tar.gz01",
            "a.tar.gz.aa",
            "a.tgz.part1",
            "a.part1",
            "a.7z.001",
            "a.tar.aa",
            "a.zip_part2",
        ] {
            assert_eq!(Kind::of_name(name), Some(Kind::Part(JOIN)), "{name}");
        }
        assert_eq!(Kind::of_name("a.z01"), Some(Kind::Part(JOIN_ZIP)));
        assert_eq!(Kind::of_name("a.r00"), Some(Kind::Part(UNRAR)));
        for name in ["a.tar.bz2", "a.tbz2", "a.tar.bz"] {
            assert_eq!(Kind::of_name(name), Some(Kind::Packed("tar xjf")), "{name}");
        }
        assert_eq!(Kind::of_name("IMG_1.HEIC"), Some(Kind::Foreign("HEIC")));
        assert_eq!(Kind::of_name("notes.txt"), Some(Kind::Other));
        for name in ["IMG_0001", "photo.2024-01-05", "train-images.idx3-ubyte"] {
            assert_eq!(Kind::of_name(name), None, "{name}");
        }
    }

    #[test]
    fn first_bytes_tell_what_a_file_without_an_extension_is() {
        let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
        for (start, kind) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], Kind::Picture),
            (b"\x89PNG\r\n\x1a\n", Kind::Picture),
            (heic, Kind::Foreign("HEIC")),
            (b"<?xml version=\"1.0\"?><svg/>", Kind::Foreign("SVG")),
            (b"\n<!DOCTYPE html><html>", Kind::Html),
            (lfs, Kind::LfsPointer),
            (b"PK\x03\x04", Kind::Archive),
            (b"BMW, a text", Kind::Other),
            (b"", Kind::Other),
        ] {
            assert_eq!(Kind::of_start(start), kind, "{}", start.escape_ascii());
        }
    }

    #[test]
    fn what_systems_leave_is_known_in_any_case_of_letters() {
        for part in [
            "@eaDir",
            "$RECYCLE.BIN",
            "Thumbs.db",
            "thumbs.DB",
            "Icon\r",
            ".DS_Store",
            "._1.jpg",
            "lost+found",
        ] {
            assert!(left_by_system(part), "{part}");
        }
        for part in ["cat", ".", "Icon", "recycle", "thumbs"] {
            assert!(!left_by_system(part), "{part}");
        }
    }
}
