//! CSV files of two columns: the classes of files, or the parts of classes.

use std::path::Path;

use crate::base::files;
use crate::pack::error::DataError;

/// Reads two columns of a CSV file by their names in its first line. Values are trimmed and in the file's order.
///
/// # Errors
/// If the file cannot be read or is not a CSV file, a column is missing, or there are no rows.
pub(crate) fn two_columns(
    path: &Path,
    names: [&str; 2],
) -> Result<Vec<(String, String)>, DataError> {
    let text = files::read(path, files::LARGEST_TABLE).map_err(DataError::io("read", path))?;
    two_columns_of(&text, path, names)
}

/// Reads two columns of the content of a CSV file as [`two_columns`] does; `path` is for messages.
///
/// # Errors
/// If the content is not CSV, a column is missing, or there are no rows.
pub(crate) fn two_columns_of(
    text: &[u8],
    path: &Path,
    names: [&str; 2],
) -> Result<Vec<(String, String)>, DataError> {
    let bad = |problem: String| DataError::BadTable {
        path: path.to_path_buf(),
        problem,
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text);
    let header = reader
        .headers()
        .map_err(|error| bad(format!("is not a CSV file ({error})")))?
        .clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|found| found == name)
            .ok_or_else(|| {
                let found: Vec<&str> = header.iter().collect();
                bad(format!(
                    "has the columns `{}`, expected `{}` and `{}` in its first line",
                    found.join(","),
                    names[0],
                    names[1]
                ))
            })
    };
    let (first, second) = (column(names[0])?, column(names[1])?);
    let rows = reader
        .records()
        .map(|record| {
            let record = record.map_err(|error| bad(format!("is damaged ({error})")))?;
            Ok((record[first].to_owned(), record[second].to_owned()))
        })
        .collect::<Result<Vec<_>, DataError>>()?;
    if rows.is_empty() {
        return Err(bad("has no rows".to_owned()));
    }
    Ok(rows)
}
