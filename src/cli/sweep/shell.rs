//! Commands as a shell reads them.

use std::ffi::OsStr;
use std::path::Path;

use hypertransformer::run::sweep::grid::Axis;

use crate::cli::sweep::commands::Words;

/// The commands as one line, each run only if the one before it succeeds.
pub(super) fn line(commands: &[Words]) -> String {
    let commands: Vec<String> = commands
        .iter()
        .map(|words| {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            words.join(" ")
        })
        .collect();
    commands.join(" && ")
}

/// The command that prints the table of a sweep.
pub(super) fn results(output: &Path, grid: &[Axis]) -> String {
    let program = std::env::args_os().next();
    let program = program.as_deref().unwrap_or("hypertransformer".as_ref());
    let mut line = format!(
        "{} results {}/*",
        quoted(program),
        quoted(output.as_os_str())
    );
    // By default `results` tells runs apart by all settings that differ.
    if grid.iter().all(Axis::is_setting) {
        for axis in grid {
            line += &format!(" --by {}", quoted(axis.key.as_ref()));
        }
    }
    line
}

/// A word in quotes if a shell would not take it as it is.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-+=./,:@%".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_a_shell_would_change_are_quoted() {
        let command: Words = ["a", "k=[1, 2]", "it's", "", "~/x", "$HOME"]
            .map(Into::into)
            .to_vec();
        let expected = r"a 'k=[1, 2]' 'it'\''s' '' '~/x' '$HOME' && b";
        assert_eq!(line(&[command, vec!["b".into()]]), expected);
    }
}
