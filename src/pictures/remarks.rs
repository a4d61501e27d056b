//! What a user should know of pictures that were read, beside errors.

use std::path::Path;

use crate::pictures::blank::{is_blank, why_blank};

/// How many pictures a line names before it counts the rest.
const NAMED: usize = 3;

/// What was noticed while pictures were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Why each broken picture was passed over, with its name.
    pub broken: Vec<String>,
    /// Files that are no pictures and were passed over.
    pub others: Vec<String>,
    /// Pictures that show nothing after preparation, with the reason where it is known.
    pub blank: Vec<String>,
}

impl Remarks {
    /// Notes that a picture is blank, if its prepared `pixels` show nothing.
    pub fn look_at(&mut self, file: &Path, pixels: &[u8]) {
        if is_blank(pixels) {
            let content = std::fs::read(file).unwrap_or_default();
            self.blank.push(blank(&file.display(), &content));
        }
    }

    /// Adds the remarks on other pictures.
    pub fn extend(&mut self, more: Remarks) {
        self.broken.extend(more.broken);
        self.others.extend(more.others);
        self.blank.extend(more.blank);
    }

    /// One line for each kind of remark.
    pub fn lines(&self) -> Vec<String> {
        let count = |files: &[String], one: &str, many: &str| match files.len() {
            1 => format!("1 {one}"),
            count => format!("{count} {many}"),
        };
        let mut lines = Vec::new();
        if !self.broken.is_empty() {
            let count = count(&self.broken, "picture", "pictures");
            lines.push(format!(
                "warning: passed over {count}: {}",
                few(&self.broken)
            ));
        }
        if !self.others.is_empty() {
            let count = count(
                &self.others,
                "file that is no picture",
                "files that are no pictures",
            );
            lines.push(format!("note: passed over {count}: {}", few(&self.others)));
        }
        if !self.blank.is_empty() {
            let count = count(&self.blank, "picture is", "pictures are");
            lines.push(format!(
                "warning: {count} blank after preparation: {}",
                few(&self.blank)
            ));
        }
        lines
    }
}

/// The name of a blank picture, with the reason where its content tells it.
pub(crate) fn blank(name: &dyn std::fmt::Display, content: &[u8]) -> String {
    match why_blank(content) {
        Some(reason) => format!("`{name}` ({reason})"),
        None => format!("`{name}`"),
    }
}

/// The first texts, and how many more there are.
pub(crate) fn few(texts: &[String]) -> String {
    let first = texts[..texts.len().min(NAMED)].join("; ");
    match texts.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}
