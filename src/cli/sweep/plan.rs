//! The runs of a sweep, checked before the first one starts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use hypertransformer::pack::pack::Pack;
use hypertransformer::pack::part::Part;
use hypertransformer::run::assemble::{build_model, evaluation_sampler, training_sampler};
use hypertransformer::run::sweep::grid::points;
use hypertransformer::run::sweep::standing::check_place;
use hypertransformer::settings::experiment::Experiment;
use hypertransformer::settings::file::{load_with, to_yaml};

use crate::cli::open::pack::ensure_pack;
use crate::cli::sweep::arguments::SweepArguments;

/// A run that a sweep is to train and evaluate.
pub(super) struct PlannedRun {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    /// What `--set` changes, for all runs and for this one.
    pub(super) settings: Vec<String>,
    pub(super) experiment: Experiment,
}

/// The runs of a sweep, with valid settings that are the same for no two of them.
pub(super) fn planned(arguments: &SweepArguments) -> anyhow::Result<Vec<PlannedRun>> {
    let output = arguments.output();
    let points = points(
        &arguments.grid,
        &arguments.seeds,
        &arguments.settings.overrides,
    )?;
    let preset = arguments.settings.preset.as_deref();
    let (mut runs, mut names) = (Vec::new(), HashMap::new());
    for point in points {
        let settings = [&arguments.settings.overrides[..], &point.settings].concat();
        let invalid = || format!("the run {} is invalid", point.name);
        let experiment = load_with(&arguments.experiment, preset, &settings)
            .with_context(invalid)?
            .experiment;
        let known = names.insert(to_yaml(&experiment), point.name.clone());
        if let Some(other) = known {
            bail!(
                "the runs {other} and {} have the same settings\nhint: name each value once in --grid",
                point.name
            );
        }
        runs.push(PlannedRun {
            folder: output.join(&point.name),
            name: point.name,
            settings,
            experiment,
        });
    }
    Ok(runs)
}

/// Checks that the folders of these runs hold nothing else.
pub(super) fn check_places(runs: &[&PlannedRun]) -> anyhow::Result<()> {
    for run in runs {
        check_place(&run.folder, &run.experiment)?;
    }
    Ok(())
}

/// Checks that each run can be trained on its pack and evaluated. A missing synthetic pack is drawn.
pub(super) fn check_data(runs: &[&PlannedRun]) -> anyhow::Result<()> {
    let mut packs: HashMap<PathBuf, Arc<Pack>> = HashMap::new();
    for run in runs {
        let unfit = || format!("the run {} cannot be trained", run.name);
        let path = &run.experiment.data.pack;
        let pack = match packs.get(path) {
            Some(pack) => Arc::clone(pack),
            None => {
                ensure_pack(path, false).with_context(unfit)?;
                let pack = Arc::new(Pack::open(path).with_context(unfit)?);
                packs.insert(path.clone(), Arc::clone(&pack));
                pack
            }
        };
        build_model(&run.experiment, &pack).with_context(unfit)?;
        training_sampler(&run.experiment, &pack).with_context(unfit)?;
        for part in [Part::Validation, Part::Test] {
            evaluation_sampler(&run.experiment, &pack, part, 0).with_context(unfit)?;
        }
    }
    Ok(())
}
