//! `results`: a table of many runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use hypertransformer::analysis::measured::Measured;
use hypertransformer::analysis::paper::Published;
use hypertransformer::analysis::results::{
    Difference, Group, TrainingAccuracy, TrainingSource, Verdict, groups,
};
use hypertransformer::analysis::training_log::Cost;
use hypertransformer::evaluate::seeds::OverSeeds;
use hypertransformer::report::console::tell;
use serde_json::Value;

#[derive(Args)]
pub(super) struct ResultsArguments {
    /// Run folders that were evaluated. Runs that differ only in train.seed are averaged
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Average runs with the same value of this setting, e.g. --by cnn.channels (repeatable) [default: of all settings
    /// but the seed]
    #[arg(long, value_name = "KEY")]
    by: Vec<String>,
    /// Runs of one system to compare with: differences are over the same episodes, between runs of the same seed
    #[arg(long, value_name = "RUN", num_args = 1..)]
    against: Vec<PathBuf>,
    /// Which evaluation, the file's name without .json [default: evaluation-test-MODE with the run's mode of batch-norm]
    #[arg(long, value_name = "NAME")]
    evaluation: Option<String>,
    /// How to print the table
    #[arg(long, value_enum, default_value = "markdown")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A table in Markdown
    Markdown,
    /// Comma-separated values
    Csv,
    /// A LaTeX tabular
    Latex,
    /// All numbers, in percent
    Json,
}

pub(super) fn run(arguments: &ResultsArguments) -> anyhow::Result<ExitCode> {
    let read = |runs: &[PathBuf]| -> anyhow::Result<Vec<Measured>> {
        let runs = runs.iter();
        runs.map(|run| Measured::read(run, arguments.evaluation.as_deref()))
            .collect()
    };
    let against = read(&arguments.against)?;
    let groups = groups(&read(&arguments.runs)?, &arguments.by, &against)?;
    let table = Table::of(&groups);
    match arguments.format {
        Format::Markdown => tell(table.markdown())?,
        Format::Csv => tell(table.csv()?.trim_end())?,
        Format::Latex => tell(table.latex())?,
        Format::Json => tell(serde_json::to_string_pretty(&groups)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What stands where a group does not have a number.
const NONE: &str = "–";
const COST: &str = "minutes, CPU / clock";
const PAPER: &str = "the paper (query), test / training, %";

/// Heading of the accuracy, by the part of the classes on which all groups were measured.
fn accuracy(groups: &[Group]) -> String {
    let mut splits = groups.iter().map(|group| &group.split);
    match splits.next() {
        Some(first) if splits.all(|split| split == first) => format!("{first} accuracy, %"),
        _ => "accuracy, %".to_owned(),
    }
}

/// A table of text.
struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn of(groups: &[Group]) -> Table {
        let mut settings: Vec<&String> = groups
            .iter()
            .flat_map(|group| group.settings.keys())
            .collect();
        settings.sort();
        settings.dedup();
        let compared = groups.iter().any(|group| group.difference.is_some());
        let mut header: Vec<String> = settings.iter().map(|key| (*key).clone()).collect();
        header.push(accuracy(groups));
        header.push("± over episodes".to_owned());
        header.push("training classes, %".to_owned());
        if compared {
            header.push("difference, points".to_owned());
        }
        header.extend(["seeds", "episodes", "batch-norm", COST, PAPER].map(str::to_owned));
        let row = |group: &Group| {
            let value = |key: &String| group.settings.get(key).map_or(String::new(), plain);
            let mut row: Vec<String> = settings.iter().map(|key| value(key)).collect();
            row.push(over_seeds(&group.test));
            row.push(format!("{:.2}", group.episodes_ci95));
            row.push(group.train.as_ref().map_or(NONE.to_owned(), training));
            if compared {
                row.push(
                    group
                        .difference
                        .as_ref()
                        .map_or(NONE.to_owned(), difference),
                );
            }
            row.push(group.test.seeds.to_string());
            row.push(group.episodes.to_string());
            row.push(match group.overlapping {
                true => format!("{}, overlapping", group.batch_norm),
                false => group.batch_norm.clone(),
            });
            row.push(group.cost.as_ref().map_or(NONE.to_owned(), minutes));
            row.push(paper(&group.paper));
            row
        };
        Table {
            rows: groups.iter().map(row).collect(),
            header,
        }
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
        let rule = "|---".repeat(self.header.len()) + "|";
        let mut lines = vec![line(&self.header), rule];
        lines.extend(self.rows.iter().map(|row| line(row)));
        lines.join("\n")
    }

    fn csv(&self) -> anyhow::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.header)?;
        for row in &self.rows {
            writer.write_record(row)?;
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }

    fn latex(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| latex(cell)).collect();
            format!("  {} \\\\", cells.join(" & "))
        };
        let mut lines = vec![
            format!("\\begin{{tabular}}{{{}}}", "l".repeat(self.header.len())),
            line(&self.header),
            "  \\hline".to_owned(),
        ];
        lines.extend(self.rows.iter().map(|row| line(row)));
        lines.push("\\end{tabular}".to_owned());
        lines.join("\n")
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Text with LaTeX's special characters escaped.
fn latex(text: &str) -> String {
    let escape = |letter: char| match letter {
        '±' => "$\\pm$".to_owned(),
        '−' => "$-$".to_owned(),
        '–' => "--".to_owned(),
        '%' | '_' | '&' | '#' | '$' | '{' | '}' => format!("\\{letter}"),
        _ => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The mean over seeds with its interval.
fn over_seeds(found: &OverSeeds) -> String {
    match found.ci95 {
        Some(interval) => format!("{:.2} ± {interval:.2}", found.mean),
        None => format!("{:.2} (one seed)", found.mean),
    }
}

/// Accuracy on training classes, with a word if it is not measured as that on test classes is.
fn training(found: &TrainingAccuracy) -> String {
    let text = over_seeds(&found.over_seeds);
    match found.source {
        TrainingSource::Evaluation => text,
        TrainingSource::Log => format!("{text}, by the log"),
    }
}

fn minutes(cost: &Cost) -> String {
    let minutes = |seconds: f64| format!("{:.1}", seconds / 60.0);
    let wall = cost.wall_seconds.map_or(NONE.to_owned(), minutes);
    format!("{} / {wall}", minutes(cost.cpu_seconds))
}

/// `94.7 (Table 1); 94.4 / 95.8 (Table 4)`
fn paper(found: &[Published]) -> String {
    let text = |number: &Published| {
        let train = number
            .train
            .map_or(String::new(), |train| format!(" / {train:.1}"));
        format!("{:.1}{train} (Table {})", number.test, number.table)
    };
    match found.is_empty() {
        true => NONE.to_owned(),
        false => found.iter().map(text).collect::<Vec<_>>().join("; "),
    }
}

/// A difference over seeds. One seed tells nothing about the recipe, whatever the interval over episodes.
fn difference(found: &Difference) -> String {
    let mean = format!("{:+.2}", found.over_seeds.mean).replace('-', "−");
    let (seeds, episodes) = (found.over_seeds.seeds, found.episodes_ci95);
    let verdict = match found.verdict {
        Some(Verdict::Ahead) => "ahead",
        Some(Verdict::Behind) => "behind",
        Some(Verdict::Open) => "open",
        None => "no finding",
    };
    match found.over_seeds.ci95 {
        Some(interval) => format!(
            "{mean} ± {interval:.2} over {seeds} seeds, ± {episodes:.2} over episodes: {verdict}"
        ),
        None => format!("{mean} ± {episodes:.2} over episodes, one seed: {verdict}"),
    }
}
