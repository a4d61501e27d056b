//! A training from its experiment to its last checkpoint.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tch::Device;

use crate::base::compute::Compute;
use crate::base::spent::Clock;
use crate::episode::sampler::EpisodeSampler;
use crate::pack::error::list_names;
use crate::pack::pack::Pack;
use crate::report::Report;
use crate::run::assemble::{build_model, split_scheme, training_sampler};
use crate::run::folder::{CheckpointChoice, RunFolder};
use crate::run::record::{Record, Session};
use crate::run::resume::Resumed;
use crate::settings::experiment::Experiment;
use crate::settings::phases::Phase;
use crate::train::error::TrainError;
use crate::train::illustrations::show_start;
use crate::train::state::State;
use crate::train::steps::{Outcome, Run};
use crate::train::validation::Validation;

/// Options of `train` that are not part of the experiment.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The run folder.
    pub run_dir: PathBuf,
    /// Continue the run in the folder.
    pub resume: bool,
    /// Replace the run in the folder.
    pub force: bool,
    /// Settings that a resumed run may change, by their dotted names.
    pub changed: Vec<String>,
    /// Stop after this step, as if interrupted.
    pub until: Option<u64>,
    /// Print nothing but errors.
    pub quiet: bool,
}

/// Trains until the last step, an error, or until `interrupted` is set, which is checked after each step.
///
/// # Errors
/// See [`TrainError`]. No checkpoint with values that are not finite is ever written.
pub fn train(
    experiment: &Experiment,
    options: &TrainOptions,
    compute: &Compute,
    interrupted: &AtomicBool,
) -> Result<Outcome, TrainError> {
    let clock = Clock::start();
    let pack = Arc::new(Pack::open(&experiment.data.pack)?);
    let phases = experiment.phases().map_err(TrainError::Phases)?;
    let model = build_model(experiment, &pack)?;
    let samplers = samplers(&phases, &pack)?;
    let validation = Validation::new(experiment, &pack)?;
    let device = compute.device;
    let session = |step, changes| Session {
        changes,
        ..Session::start(step, &format!("{device:?}"), compute.threads, pack.path())
    };
    let resumed = options.resume && !RunFolder::is_unborn(&options.run_dir);
    let (folder, sessions, mut state) = if resumed {
        let changed: Vec<&str> = options.changed.iter().map(String::as_str).collect();
        let found = RunFolder::resume(&options.run_dir, experiment, &changed, &pack)?;
        let state = State::resumed(experiment, &phases, &model, device, &found.folder)?;
        check_taken(&found, &phases, state.step)?;
        let session = session(state.step, found.changes());
        let sessions = found
            .folder
            .start_session(found.record, session, experiment)?;
        (found.folder, sessions, state)
    } else {
        // The start is read first: with --force it may lie in the run that is about to be replaced.
        let state = State::fresh(experiment, &model, device)?;
        let record = Record::new(experiment.train.seed, &pack);
        let session = session(0, BTreeMap::new());
        let (path, force) = (&options.run_dir, options.force);
        let (folder, sessions) = RunFolder::create(path, experiment, record, session, force)?;
        (folder, sessions, state)
    };
    let steps = experiment.total_steps();
    if state.step >= steps && state.reported {
        return Ok(Outcome::AlreadyFinished(state.step));
    }
    // What is recorded of an unreported step is recorded again.
    let recorded = state.step - u64::from(!state.reported);
    let recorded = resumed.then_some(recorded);
    let mut report = Report::create(&folder.metrics(), steps, recorded, options.quiet)?;
    if recorded.is_none() {
        show_start(&mut report, experiment, &samplers[0])?;
    }
    let mut run = Run {
        experiment,
        compute,
        pack: &pack,
        model: &model,
        folder: &folder,
        sessions,
        clock,
        report,
        validation,
        saved: Instant::now(),
        until: options.until,
    };
    if state.step == 0 {
        // From here on the run can be resumed without the checkpoint that it started from.
        run.save(&state, &CheckpointChoice::Last)?;
    }
    for line in description(&run, &state, &pack) {
        run.report.say(&line);
    }
    let outcome = run.phases(&mut state, &phases, samplers, interrupted);
    if let Err(TrainError::Report(_)) = outcome {
        // The step is not lost if only its numbers could not be written. If this fails too, the first error says why.
        let _ = run.save(&state, &CheckpointChoice::Last);
    }
    run.report.finish();
    outcome
}

/// Sampler of the training episodes of each phase.
fn samplers(phases: &[Phase], pack: &Arc<Pack>) -> Result<Vec<Arc<EpisodeSampler>>, TrainError> {
    let sampler = |phase: &Phase| {
        let sampler = Arc::new(training_sampler(&phase.experiment, pack)?);
        check_real_classes(&phase.experiment, &sampler)?;
        Ok(sampler)
    };
    phases.iter().map(sampler).collect()
}

/// Checks that a change leaves the phases of the steps that are already taken as they were.
fn check_taken(found: &Resumed, phases: &[Phase], step: u64) -> Result<(), TrainError> {
    let before = found.before.phases().map_err(TrainError::Phases)?;
    let begun = |phases: &[Phase]| -> Vec<u64> {
        let starts = phases.iter().map(|phase| phase.start);
        starts.filter(|&start| start > 0 && start < step).collect()
    };
    match begun(&before) == begun(phases) {
        true => Ok(()),
        false => Err(TrainError::PhaseTaken(step)),
    }
}

fn check_real_classes(experiment: &Experiment, sampler: &EpisodeSampler) -> Result<(), TrainError> {
    let (head, classes) = (&experiment.train.real_class_head, sampler.class_count());
    if head.weight == 0.0 || head.classes == classes {
        return Ok(());
    }
    Err(TrainError::RealClasses {
        outputs: head.classes,
        classes,
        pack: experiment.data.pack.display().to_string(),
    })
}

/// Lines that say what is trained, and how.
fn description(run: &Run, state: &State, pack: &Pack) -> Vec<String> {
    let Experiment {
        episode,
        cnn,
        train,
        ..
    } = run.experiment;
    let compute = run.compute;
    let mut lines = vec![format!(
        "{}: {}-way {}-shot on {} ({}), {} channels, {} learned parameters",
        run.folder.path().display(),
        episode.way,
        episode.shot,
        pack.metadata().name,
        split_scheme(run.experiment, pack),
        cnn.channels,
        run.model.layout().total(),
    )];
    if let (Some(path), false) = (&train.start_from, state.fresh.is_empty()) {
        lines.push(format!(
            "starts from {}, except {} parameters that it does not have: {}",
            path.display(),
            state.fresh.len(),
            list_names(&state.fresh, 4),
        ));
    }
    lines.push(format!(
        "steps {} to {} of {} episodes each on {:?} with {} threads",
        state.step,
        run.experiment.total_steps(),
        train.tasks_per_step,
        compute.device,
        compute.threads
    ));
    lines.extend(train.shortened_warmup());
    let batches = train.tasks_per_step.div_ceil(train.tasks_together());
    if compute.device == Device::Cpu && batches < compute.threads {
        lines.push(format!(
            "only {batches} of {} threads are used: lower train.tasks_together or raise train.tasks_per_step",
            compute.threads
        ));
    }
    lines
}
