//! `evaluate-folder`: accuracy and confusion matrix of a generated CNN on labelled pictures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use hypertransformer::base::{atomic, files};
use hypertransformer::draw::canvas::write_png;
use hypertransformer::draw::heatmap::{Heatmap, draw};
use hypertransformer::evaluate::answers::Answers;
use hypertransformer::export::generation::most_probable;
use hypertransformer::pictures::labelled::{Expected, LabelledPictures};
use hypertransformer::report::console::{say, tell};
use serde_json::{Value, json};

use crate::cli::generate::task::{appended, ensure_names_files, without_extension};
use crate::cli::open::cnn::CnnArguments;

/// Key that only the JSON of an evaluation has.
const CONFUSION: &str = "confusion";
/// Key of the folder whose pictures were classified.
const FOLDER: &str = "folder";

#[derive(Args)]
pub(super) struct EvaluateFolderArguments {
    #[command(flatten)]
    cnn: CnnArguments,
    /// Labelled pictures: a folder of class folders, or a CSV file with the columns file and label
    folder: PathBuf,
    /// Pass over pictures that cannot be used, and count them
    #[arg(long)]
    skip_broken: bool,
    /// Name of the results, NAME.json and NAME.png; only earlier results of the same folder are replaced [default:
    /// <model>-evaluation beside the model]
    #[arg(long, value_name = "NAME")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &EvaluateFolderArguments) -> anyhow::Result<ExitCode> {
    let stem = match &arguments.output {
        Some(output) => {
            ensure_names_files("--output", output)?;
            without_extension(output)
        }
        None => appended(&without_extension(&arguments.cnn.model), "-evaluation"),
    };
    let file = |extension: &str| appended(&stem, &format!(".{extension}"));
    let earlier = evaluated_folder(&file("json"));
    let folder = &*arguments.folder;
    for path in [file("json"), file("png")] {
        ensure!(
            !path.exists()
                || earlier
                    .as_deref()
                    .is_some_and(|other| Path::new(other) == folder),
            "{} exists and {}\nhint: name other files with --output",
            path.display(),
            match &earlier {
                Some(other) => format!("has results of {other}"),
                None => "is not a result of `evaluate-folder`".to_owned(),
            }
        );
    }
    let cnn = arguments.cnn.open()?;
    let expected = Expected {
        classes: 1,
        skip_broken: arguments.skip_broken,
    };
    let (labelled, remarks) =
        LabelledPictures::read(&arguments.folder, &cnn.preparation, expected)?;
    remarks.lines().iter().for_each(say);
    let slot = |label: &String| cnn.labels.iter().position(|known| known == label);
    let slots: Vec<Option<usize>> = labelled.classes.iter().map(slot).collect();
    let unknown: Vec<&str> = labelled
        .classes
        .iter()
        .zip(&slots)
        .filter(|(_, slot)| slot.is_none())
        .map(|(label, _)| label.as_str())
        .collect();
    ensure!(
        unknown.is_empty(),
        "{} has classes that the model does not know: {}\nhint: the model knows {}",
        arguments.folder.display(),
        unknown.join(", "),
        cnn.labels.join(", ")
    );
    let pairs = labelled.pictures.iter().map(|picture| {
        let answer = most_probable(&cnn.probabilities(&picture.pixels));
        (slots[picture.class].unwrap_or_default(), answer)
    });
    let answers = Answers::of(cnn.labels.len(), pairs);
    let summary = json!({
        "model": arguments.cnn.model.display().to_string(),
        FOLDER: folder.display().to_string(),
        "accuracy": answers.accuracy(),
        "accuracy_interval95": answers.interval(),
        "pictures": answers.total(),
        "right": answers.right(),
        "labels": cnn.labels,
        CONFUSION: answers.confusion.outer_iter().map(|row| row.to_vec()).collect::<Vec<_>>(),
    });
    let failed = |path: &Path| format!("could not write {}", path.display());
    let json = serde_json::to_vec_pretty(&summary)?;
    atomic::write(&file("json"), &json).with_context(|| failed(&file("json")))?;
    let picture = draw(&[vec![heatmap(&answers)]]);
    write_png(&picture, &file("png")).with_context(|| failed(&file("png")))?;
    tell(format!("{answers}\n"))?;
    tell(table(&cnn.labels, &answers).trim_end())?;
    say(format!(
        "written: {}.json and {}.png",
        stem.display(),
        stem.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The folder whose results an earlier call wrote to `path`; `None` if the file is something else, e.g. the summary of a
/// model.
fn evaluated_folder(path: &Path) -> Option<String> {
    let found: Value =
        serde_json::from_slice(&files::read(path, files::LARGEST_TABLE).ok()?).ok()?;
    found.get(CONFUSION)?;
    Some(found.get(FOLDER)?.as_str()?.to_owned())
}

/// The confusion matrix as text. Rows: true classes, numbered; columns: answers, by these numbers.
fn table(labels: &[String], answers: &Answers) -> String {
    let name = labels
        .iter()
        .map(|label| label.chars().count())
        .max()
        .unwrap_or(0);
    let largest = answers.confusion.iter().copied().max().unwrap_or(0);
    let cell = largest.max(labels.len()).to_string().len() + 1;
    let header: String = (1..=labels.len())
        .map(|number| format!("{number:>cell$}"))
        .collect();
    let number = labels.len().to_string().len();
    let mut text = format!("{:>width$}{header}\n", "", width = number + 1 + name);
    for (index, (label, row)) in labels
        .iter()
        .zip(answers.confusion.outer_iter())
        .enumerate()
    {
        let counts: String = row
            .iter()
            .map(|count| match count {
                0 => format!("{:>cell$}", "."),
                _ => format!("{count:>cell$}"),
            })
            .collect();
        text += &format!("{:>number$} {label:<name$}{counts}\n", index + 1);
    }
    text
}

fn heatmap(answers: &Answers) -> Heatmap {
    let classes = answers.confusion.nrows();
    let numbers: Vec<(String, usize)> = (1..=classes)
        .map(|number| (number.to_string(), 1))
        .collect();
    Heatmap {
        title: "rows: true class, columns: answer".to_owned(),
        row_groups: numbers.clone(),
        column_groups: numbers,
        values: answers.confusion.mapv(|count| count as f32),
    }
}
