//! The result of an evaluation: what is printed and what is written.

use std::io::Write;

use anyhow::{Context, ensure};
use hypertransformer::base::atomic;
use hypertransformer::evaluate::summary::{EpisodeRecord, Summary};
use hypertransformer::run::facts::argv;
use serde_json::{Value, json};

use crate::cli::evaluate::job::{Job, Target};
use crate::cli::open::run::overlap_note;

/// The accuracy of one checkpoint of a run.
pub(super) struct Measured<'a> {
    target: &'a Target,
    /// The run folder.
    run: String,
    step: u64,
    summary: Summary,
}

impl<'a> Measured<'a> {
    /// Averages the records of all episodes.
    pub(super) fn new(
        job: &Job,
        target: &'a Target,
        step: u64,
        records: &[EpisodeRecord],
    ) -> anyhow::Result<Measured<'a>> {
        job.run.pack.check_unchanged()?;
        let summary = Summary::of(records);
        ensure!(
            summary.loss_mean.is_finite(),
            "{} computes logits that are not finite",
            target.checkpoint.display()
        );
        Ok(Measured {
            target,
            run: job.run.folder.path().display().to_string(),
            step,
            summary,
        })
    }

    /// Writes the summary and the records.
    pub(super) fn write(&self, job: &Job, records: &[EpisodeRecord]) -> anyhow::Result<()> {
        let path = &self.target.summary;
        let mut object = serde_json::to_value(self.summary)?;
        if let (Some(object), Value::Object(facts)) = (object.as_object_mut(), self.facts(job)) {
            object.extend(facts);
        }
        let files = [
            (&self.target.records(), lines(records)?),
            (path, serde_json::to_vec_pretty(&object)?),
        ];
        atomic::write_set(&files).with_context(|| format!("could not write {}", path.display()))
    }

    /// What was measured, for the summary.
    fn facts(&self, job: &Job) -> Value {
        let (shape, pack) = (job.sampler.shape(), job.run.pack.metadata());
        json!({
            "split": job.sampler.part(),
            "batch_norm": job.mode,
            "query_sampling": job.sampler.draw().query_sampling,
            "seed": job.sampler.seed(),
            "checkpoint": self.target.checkpoint.display().to_string(),
            "checkpoint_step": self.step,
            "pack": job.run.experiment.data.pack.display().to_string(),
            "pack_name": pack.name,
            "pack_content_hash": pack.content_hash,
            "pack_differs_in": job.run.pack_differs_in,
            "scheme": job.sampler.scheme(),
            "way": shape.way,
            "trained_way": job.run.model.way(),
            "shot": shape.shot,
            "unlabeled": shape.unlabeled,
            "distractors": shape.distractors,
            "query": shape.query,
            "command": argv().join(" "),
        })
    }

    /// The accuracy and all that it depends on.
    pub(super) fn sentence(&self, job: &Job) -> String {
        let (shape, trained) = (job.sampler.shape(), job.run.model.way());
        let slots = match shape.way == trained {
            true => String::new(),
            false => format!(", trained {trained}-way"),
        };
        let pack = match (&job.other_pack, job.run.pack_differs_in) {
            (None, _) => String::new(),
            (Some(name), None) => format!(", on {name}"),
            (Some(name), Some("images")) => {
                format!(", on {name}, another data set than it was trained on")
            }
            (Some(name), Some(what)) => {
                format!(", on {name}, whose {what} are not those that it was trained on")
            }
        };
        format!(
            "{} accuracy {} ({} episodes, 95 % interval, batch-norm {}{}, {}-way {}-shot{slots}, checkpoint step {}{pack})",
            job.sampler.part(),
            self.summary,
            self.summary.episodes,
            job.mode,
            overlap_note(job.overlapping),
            shape.way,
            shape.shot,
            self.step,
        )
    }
}

fn lines(records: &[EpisodeRecord]) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    for record in records {
        serde_json::to_writer(&mut text, record)?;
        writeln!(text)?;
    }
    Ok(text)
}

/// A line for each result: run, checkpoint, step, accuracy.
pub(super) fn table(results: &[Measured]) -> String {
    let header = ["run", "checkpoint", "step", "accuracy"].map(str::to_owned);
    let rows = results.iter().map(|result| {
        let step = result.step.to_string();
        let accuracy = result.summary.to_string();
        [result.run.clone(), result.target.name(), step, accuracy]
    });
    let rows: Vec<[String; 4]> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let [run, checkpoint, step] = [width(0), width(1), width(2)];
    let lines: Vec<String> = rows
        .iter()
        .map(|[a, b, c, d]| format!("{a:<run$}  {b:<checkpoint$}  {c:>step$}  {d}"))
        .collect();
    lines.join("\n")
}
