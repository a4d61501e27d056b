//! The training loop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tch::Device;

use crate::base::compute::Compute;
use crate::episode::sampler::EpisodeSampler;
use crate::evaluate::adaptation::{LayerDeviation, MeanWeights};
use crate::evaluate::episodes::evaluate;
use crate::evaluate::summary::Summary;
use crate::model::hypertransformer::HyperTransformer;
use crate::model::trained::Trained;
use crate::pack::error::list_names;
use crate::pack::pack::Pack;
use crate::pack::part::Part;
use crate::report::Report;
use crate::report::averages::Averages;
use crate::run::assemble::{build_model, evaluation_sampler, split_scheme, training_sampler};
use crate::run::checkpoint;
use crate::run::folder::{CheckpointChoice, RunFolder, facts};
use crate::settings::experiment::Experiment;
use crate::train::error::TrainError;
use crate::train::gradient::{Objective, StepGradient, step_gradient};
use crate::train::loader::training_loader;
use crate::train::metrics::{self, LogLine, OptimizerStep};
use crate::train::optimizer::clip;
use crate::train::schedule::learning_rate;
use crate::train::state::State;
use crate::train::window::Window;

/// Weight of the old value when a moving average is updated, once per step.
const MOVING_AVERAGE: f64 = 0.99;

/// Seed of the validation and test episodes during training. It is not the seed of the experiment, so that runs with
/// different seeds are validated on the same episodes.
const VALIDATION_SEED: u64 = 1;

/// Number of tasks on which generated convolutions are compared at each validation.
const DEVIATION_EPISODES: u64 = 32;

/// Generated convolutions that vary between tasks by less than this fraction of their norm are effectively constant.
/// At initialisation they vary by 0.5 %.
const CONSTANT: f64 = 1e-3;

/// Options of `train` that are not part of the experiment.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The run folder.
    pub run_dir: PathBuf,
    /// Continue the run in the folder.
    pub resume: bool,
    /// Replace the run in the folder.
    pub force: bool,
    /// Print nothing but errors.
    pub quiet: bool,
}

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// All steps are done. Holds the best step and its validation accuracy, a fraction.
    Finished(Option<(u64, f64)>),
    /// Interrupted after this many steps; a checkpoint is saved.
    Interrupted(u64),
    /// The run already had all its steps, this many.
    AlreadyFinished(u64),
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
    let pack = Arc::new(Pack::open(&experiment.data.pack)?);
    let model = build_model(experiment, &pack)?;
    let sampler = Arc::new(training_sampler(experiment, &pack)?);
    check_real_classes(experiment, &sampler)?;
    let validation = evaluation_sampler(experiment, &pack, Part::Validation, VALIDATION_SEED)?;
    let test = match experiment.train.log_test_accuracy {
        true => Some(evaluation_sampler(
            experiment,
            &pack,
            Part::Test,
            VALIDATION_SEED,
        )?),
        false => None,
    };
    let device = compute.device;
    let (folder, mut state) = if options.resume {
        let folder = RunFolder::resume(&options.run_dir, experiment, &pack)?;
        let state = State::resumed(experiment, &model, device, &folder)?;
        (folder, state)
    } else {
        // The start is read first: with --force it may lie in the run that is about to be replaced.
        let state = State::fresh(experiment, &model, device)?;
        let seed = experiment.train.seed;
        let facts = facts(&format!("{device:?}"), compute.threads, seed, &pack);
        let (path, force) = (&options.run_dir, options.force);
        (RunFolder::create(path, experiment, &facts, force)?, state)
    };
    let steps = experiment.train.steps;
    if state.step >= steps {
        return Ok(Outcome::AlreadyFinished(state.step));
    }
    let resumed = options.resume.then_some(state.step);
    let report = Report::create(&folder.metrics(), steps, resumed, options.quiet)?;
    let mut run = Run {
        experiment,
        compute,
        model: &model,
        folder: &folder,
        report,
        validation,
        test,
    };
    if state.step == 0 {
        // From here on the run can be resumed without the checkpoint that it started from.
        run.save(&state, &CheckpointChoice::Last)?;
    }
    run.describe(&state, &pack);
    let outcome = run.steps(&mut state, sampler, interrupted);
    run.report.finish();
    outcome
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

struct Run<'a> {
    experiment: &'a Experiment,
    compute: &'a Compute,
    model: &'a HyperTransformer,
    folder: &'a RunFolder,
    report: Report,
    validation: EpisodeSampler,
    test: Option<EpisodeSampler>,
}

impl Run<'_> {
    fn describe(&self, state: &State, pack: &Pack) {
        let Experiment {
            episode,
            cnn,
            train,
            ..
        } = self.experiment;
        self.report.say(&format!(
            "{}: {}-way {}-shot on {} ({}), {} channels, {} learned parameters",
            self.folder.path().display(),
            episode.way,
            episode.shot,
            pack.metadata().name,
            split_scheme(self.experiment, pack),
            cnn.channels,
            self.model.layout().total(),
        ));
        if let (Some(path), false) = (&train.start_from, state.fresh.is_empty()) {
            self.report.say(&format!(
                "starts from {}, except {} parameters that it does not have: {}",
                path.display(),
                state.fresh.len(),
                list_names(&state.fresh, 4),
            ));
        }
        self.report.say(&format!(
            "steps {} to {} of {} episodes each on {:?} with {} threads",
            state.step,
            train.steps,
            train.tasks_per_step,
            self.compute.device,
            self.compute.threads
        ));
        if let Some(note) = train.shortened_warmup() {
            self.report.say(&note);
        }
        let batch_size = train.tasks_together();
        let batches = train.tasks_per_step.div_ceil(batch_size);
        if self.compute.device == Device::Cpu && batches < self.compute.threads {
            self.report.say(&format!(
                "only {batches} of {} threads are used: lower train.tasks_together or raise train.tasks_per_step",
                self.compute.threads
            ));
        }
    }

    fn steps(
        &mut self,
        state: &mut State,
        sampler: Arc<EpisodeSampler>,
        interrupted: &AtomicBool,
    ) -> Result<Outcome, TrainError> {
        let config = &self.experiment.train;
        let tasks = config.tasks_per_step as u64;
        let episodes = state.step * tasks..config.steps * tasks;
        let mut loader = training_loader(self.compute, sampler, episodes, config.tasks_per_step)?;
        let mut window = Window::new(loader.waited());
        while let Some(batch) = loader.next() {
            let step = step_gradient(
                self.compute,
                self.model,
                &state.model,
                &batch,
                Objective::at(self.experiment, state.step),
            );
            let (gradient, norm) = clip(&step.gradient, config.clip_norm);
            self.check_finite(state.step, &step, norm)?;
            let rate = learning_rate(config, state.step);
            state.optimizer.step(&mut state.model.phi, &gradient, rate);
            state.model.buffers =
                &state.model.buffers * MOVING_AVERAGE + step.observed * (1.0 - MOVING_AVERAGE);
            state.step += 1;
            let mut averages = step.averages;
            let measured = OptimizerStep {
                gradient_norm: norm,
            };
            averages.measure(metrics::OPTIMIZER_STEP, &measured, batch.count() as f64);
            window.add(&averages, batch.count());
            let last = state.step == config.steps;
            if state.step.is_multiple_of(config.log_every) || last {
                let (speed, loader_wait) = window.speed(loader.waited());
                let line = LogLine {
                    learning_rate: rate,
                    episodes_per_second: speed,
                    loader_wait,
                };
                let mut averages = window.averages;
                averages.measure(metrics::LOG_LINE, &line, 1.0);
                self.report.write(state.step, &averages)?;
                let [loss, accuracy] =
                    [metrics::LOSS, metrics::ACCURACY].map(|tag| averages.of(tag));
                self.report
                    .progress(state.step, loss, accuracy, rate, speed);
                window = Window::new(loader.waited());
            }
            let validated = state.step.is_multiple_of(self.experiment.validation.every) || last;
            if validated {
                let start = Instant::now();
                self.validate(state)?;
                window.exclude(start.elapsed());
            }
            let kept = state.step.is_multiple_of(config.checkpoint_every);
            if kept {
                self.save(state, &CheckpointChoice::Step(state.step))?;
                checkpoint::prune(&self.folder.checkpoints(), config.keep_checkpoints)?;
            }
            if validated || kept {
                // Saved last: a resumed run continues after this step, so all else of the step must be done.
                self.save(state, &CheckpointChoice::Last)?;
            }
            if interrupted.load(Ordering::Relaxed) && !last {
                self.save(state, &CheckpointChoice::Last)?;
                return Ok(Outcome::Interrupted(state.step));
            }
        }
        self.save(state, &CheckpointChoice::Last)?;
        Ok(Outcome::Finished(state.best))
    }

    fn check_finite(&self, step: u64, found: &StepGradient, norm: f64) -> Result<(), TrainError> {
        let what = match (found.loss.is_finite(), norm.is_finite()) {
            (false, _) => "loss",
            (true, false) => "gradient",
            (true, true) => return Ok(()),
        };
        Err(self.not_finite(what, step))
    }

    fn not_finite(&self, what: &'static str, step: u64) -> TrainError {
        let tasks = self.experiment.train.tasks_per_step as u64;
        let last = self.folder.checkpoint(&CheckpointChoice::Last);
        let last_good = if last.exists() {
            last.display().to_string()
        } else {
            "none, because none was saved yet".to_owned()
        };
        let (first_episode, last_episode) = (step * tasks, (step + 1) * tasks - 1);
        TrainError::NotFinite {
            what,
            step,
            first_episode,
            last_episode,
            last_good,
        }
    }

    /// Records the accuracy of validation (and of test, with `train.log_test_accuracy`), and saves the checkpoint if its
    /// validation accuracy is the best so far.
    fn validate(&mut self, state: &mut State) -> Result<(), TrainError> {
        let episodes = self.experiment.validation.episodes as u64;
        let mode = self.experiment.batch_norm;
        let trained = Trained {
            model: self.model,
            state: &state.model,
        };
        let summary = |sampler: &EpisodeSampler| {
            Summary::of(&evaluate(
                self.compute,
                &trained,
                sampler,
                episodes,
                mode,
                |_| true,
            ))
        };
        let validation = summary(&self.validation);
        if !validation.loss_mean.is_finite() {
            return Err(self.not_finite("validation loss", state.step - 1));
        }
        let test = self.test.as_ref().map(summary);
        let mut averages = Averages::default();
        averages.measure(metrics::VALIDATION, &validation, 1.0);
        if let Some(test) = &test {
            averages.measure(metrics::TEST, test, 1.0);
        }
        let deviations =
            MeanWeights::over_tasks(&trained, &self.validation, DEVIATION_EPISODES, mode)
                .deviations;
        for found in &deviations {
            averages.measure_layer(&metrics::DEVIATION, found.layer, found);
        }
        self.report.write(state.step, &averages)?;
        let better = state
            .best
            .is_none_or(|(_, best)| validation.accuracy_mean > best);
        self.report.say(&format!(
            "step {}  validation {validation} ({} episodes, 95 % interval, batch-norm {mode}){}",
            state.step,
            validation.episodes,
            if better { ", best so far" } else { "" },
        ));
        let largest = deviations
            .iter()
            .map(LayerDeviation::share)
            .reduce(f64::max);
        if let Some(largest) = largest.filter(|largest| *largest < CONSTANT) {
            self.report.say(&format!(
                "step {}  generated convolutions vary by at most {:.4} % between tasks: they are effectively constant\n\
                 hint: a train.convolution_generator_rate below {} may prevent it",
                state.step,
                100.0 * largest,
                self.experiment.train.convolution_generator_rate(),
            ));
        }
        if better {
            state.best = Some((state.step, validation.accuracy_mean));
            self.save(state, &CheckpointChoice::Best)?;
        }
        Ok(())
    }

    fn save(&self, state: &State, choice: &CheckpointChoice) -> Result<(), TrainError> {
        state.save(&self.folder.checkpoint(choice), self.experiment, self.model)
    }
}
