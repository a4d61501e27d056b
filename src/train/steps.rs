//! The training loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::base::compute::Compute;
use crate::base::spent::{Clock, Spent};
use crate::episode::sampler::EpisodeSampler;
use crate::evaluate::adaptation::LayerDeviation;
use crate::model::hypertransformer::HyperTransformer;
use crate::model::trained::Trained;
use crate::pack::pack::Pack;
use crate::report::Report;
use crate::report::averages::Averages;
use crate::run::checkpoint;
use crate::run::error::RunError;
use crate::run::folder::{CheckpointChoice, RunFolder};
use crate::run::record::OpenRecord;
use crate::settings::experiment::Experiment;
use crate::settings::phases::Phase;
use crate::train::error::TrainError;
use crate::train::gradient::{Objective, Prepared, StepGradient, step_gradient};
use crate::train::illustrations::{group_norms, show_kernels, show_parameters};
use crate::train::loader::training_loader;
use crate::train::metrics::{self, OptimizerStep, Speed};
use crate::train::optimizer::{Optimizer, clip};
use crate::train::schedule::learning_rate;
use crate::train::state::State;
use crate::train::stopwatch::Stopwatch;
use crate::train::validation::{Validated, Validation};

/// Weight of the old value when a moving average is updated, once per step.
const MOVING_AVERAGE: f64 = 0.99;

/// Generated convolutions that vary between tasks by less than this fraction of their norm are effectively constant.
/// At initialisation they vary by 0.5 %.
const CONSTANT: f64 = 1e-3;

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// All steps are done. Holds the best step and its validation accuracy, a fraction.
    Finished(Option<(u64, f64)>),
    /// Interrupted after this many steps; a checkpoint is saved.
    Interrupted(u64),
    /// Stopped after this many steps as asked; a checkpoint is saved.
    Stopped(u64),
    /// The run already had all its steps, this many.
    AlreadyFinished(u64),
}

/// A training in progress.
pub(crate) struct Run<'a> {
    pub(crate) experiment: &'a Experiment,
    pub(crate) compute: &'a Compute,
    pub(crate) pack: &'a Pack,
    pub(crate) model: &'a HyperTransformer,
    pub(crate) folder: &'a RunFolder,
    pub(crate) sessions: OpenRecord,
    /// Started with this session.
    pub(crate) clock: Clock,
    pub(crate) report: Report,
    pub(crate) validation: Validation,
    /// When the last checkpoint was saved.
    pub(crate) saved: Instant,
    /// The step after which to stop.
    pub(crate) until: Option<u64>,
}

impl Run<'_> {
    /// Trains until the last step, or until `interrupted` is set.
    pub(crate) fn phases(
        &mut self,
        state: &mut State,
        phases: &[Phase],
        samplers: Vec<Arc<EpisodeSampler>>,
        interrupted: &AtomicBool,
    ) -> Result<Outcome, TrainError> {
        for (phase, sampler) in phases.iter().zip(samplers) {
            // A resumed run first reports the step in which it was interrupted.
            if state.step < phase.end() || (state.step == phase.end() && !state.reported) {
                self.start(phase, state, phases.len());
                if let Some(outcome) = self.steps(phase, state, sampler, interrupted)? {
                    return Ok(outcome);
                }
            }
        }
        self.save(state, &CheckpointChoice::Last)?;
        Ok(Outcome::Finished(state.best))
    }

    /// Starts a phase; each has an optimizer of its own.
    fn start(&self, phase: &Phase, state: &mut State, phases: usize) {
        if phases == 1 {
            return;
        }
        let (number, from, to) = (phase.number, state.step, phase.end());
        self.report.say(&format!(
            "phase {} of {phases}: steps {from} to {to}",
            number + 1
        ));
        if number > 0 && from == phase.start {
            let train = &phase.experiment.train;
            state.optimizer = Optimizer::new(train, self.model.layout(), &state.model.phi);
        }
    }

    /// Trains until the end of a phase, then returns `None`, or until `interrupted` is set.
    fn steps(
        &mut self,
        phase: &Phase,
        state: &mut State,
        sampler: Arc<EpisodeSampler>,
        interrupted: &AtomicBool,
    ) -> Result<Option<Outcome>, TrainError> {
        let per_step = self.experiment.train.tasks_per_step;
        let tasks = per_step as u64;
        let episodes = state.step * tasks..phase.end() * tasks;
        let mut loader = training_loader(self.compute, sampler, episodes, per_step)?;
        let mut stopwatch = Stopwatch::start(loader.waited());
        loop {
            if state.reported {
                let Some(batch) = loader.next() else {
                    return Ok(None);
                };
                self.step(phase, state, &batch)?;
                stopwatch.count(batch.count());
            }
            let is_logged = self.is_logged(phase, state.step);
            if is_logged {
                self.log(phase, state, stopwatch.speed(loader.waited()))?;
            }
            let validated = self.is_validated(phase, state.step);
            if validated {
                let start = Instant::now();
                let trained = Trained {
                    model: self.model,
                    state: &state.model,
                };
                let found = self.validation.run(self.compute, &trained, interrupted);
                let Some(found) = found else {
                    self.save(state, &CheckpointChoice::Last)?;
                    return Ok(Some(Outcome::Interrupted(state.step)));
                };
                self.record(state, &found)?;
                stopwatch.exclude(start.elapsed());
            }
            if is_logged {
                state.averages = Averages::default();
                stopwatch = Stopwatch::start(loader.waited());
            }
            state.reported = true;
            self.save_if_due(state, validated)?;
            if let Some(outcome) = self.stop(state.step, interrupted) {
                self.save(state, &CheckpointChoice::Last)?;
                return Ok(Some(outcome));
            }
        }
    }

    /// How training ends after `step` if it is to end before its last step.
    fn stop(&self, step: u64, interrupted: &AtomicBool) -> Option<Outcome> {
        if step >= self.experiment.total_steps() {
            return None;
        }
        if interrupted.load(Ordering::Relaxed) {
            return Some(Outcome::Interrupted(step));
        }
        let until = self.until.is_some_and(|until| step >= until);
        until.then_some(Outcome::Stopped(step))
    }

    fn is_logged(&self, phase: &Phase, step: u64) -> bool {
        step.is_multiple_of(self.experiment.train.log_every) || step == phase.end()
    }

    fn is_validated(&self, phase: &Phase, step: u64) -> bool {
        step.is_multiple_of(self.experiment.validation.every) || step == phase.end()
    }

    /// One optimizer step. Nothing changes if its loss or gradient is not finite.
    fn step(&self, phase: &Phase, state: &mut State, batch: &Prepared) -> Result<(), TrainError> {
        let config = &phase.experiment.train;
        let in_phase = state.step - phase.start;
        let objective = Objective {
            // The heads are trained at the start of the whole training.
            warm_up: (state.step, config.warmup_head_steps),
            ..Objective::at(&phase.experiment, in_phase)
        };
        let step = step_gradient(self.compute, self.model, &state.model, batch, objective);
        let (gradient, norm) = clip(&step.gradient, config.clip_norm);
        self.check_finite(state.step, &step, norm)?;
        let rate = learning_rate(config, in_phase);
        state.optimizer.step(&mut state.model.phi, &gradient, rate);
        state.model.buffers =
            &state.model.buffers * MOVING_AVERAGE + step.observed * (1.0 - MOVING_AVERAGE);
        let measured = OptimizerStep {
            gradient_norm: norm,
        };
        state.averages.merge(&step.averages);
        state
            .averages
            .measure(metrics::OPTIMIZER_STEP, &measured, batch.count() as f64);
        state.step += 1;
        state.reported = false;
        if self.is_logged(phase, state.step) {
            let norms = group_norms(self.model.layout(), &step.gradient);
            state.averages.merge(&norms);
        }
        Ok(())
    }

    /// Writes a line of the log. A resumed run may have no speed yet.
    fn log(
        &mut self,
        phase: &Phase,
        state: &State,
        speed: Option<Speed>,
    ) -> Result<(), TrainError> {
        let rate = learning_rate(&phase.experiment.train, state.step - 1 - phase.start);
        let mut averages = state.averages.clone();
        averages.measure(metrics::TIME, &self.spent(), 1.0);
        averages.measure(metrics::LEARNING_RATE, &rate, 1.0);
        if let Some(speed) = &speed {
            averages.measure(metrics::SPEED, speed, 1.0);
        }
        self.report.write(state.step, &averages)?;
        let [loss, accuracy] = [metrics::LOSS, metrics::ACCURACY].map(|tag| averages.of(tag));
        let speed = speed.map(|speed| speed.episodes_per_second);
        self.report
            .progress(state.step, loss, accuracy, rate, speed);
        Ok(())
    }

    /// Records a validation, and saves the checkpoint if its accuracy is the best so far.
    fn record(&mut self, state: &mut State, found: &Validated) -> Result<(), TrainError> {
        let validation = &found.validation;
        if !validation.loss_mean.is_finite() {
            return Err(self.not_finite("validation loss", state.step - 1));
        }
        let mut averages = found.averages();
        averages.measure(metrics::TIME, &self.spent(), 1.0);
        let trained = Trained {
            model: self.model,
            state: &state.model,
        };
        let (sampler, mode) = (self.validation.sampler(), self.experiment.batch_norm);
        let norms = show_kernels(&mut self.report, state.step, &trained, sampler, mode)?;
        averages.merge(&norms);
        self.report.write(state.step, &averages)?;
        if self.experiment.train.log_histograms {
            let phi = &state.model.phi;
            show_parameters(&mut self.report, state.step, self.model.layout(), phi)?;
        }
        let better = state
            .best
            .is_none_or(|(_, best)| validation.accuracy_mean > best);
        self.report.say(&format!(
            "step {}  validation {validation}{} ({} episodes, 95 % interval, batch-norm {}){}",
            state.step,
            found
                .test
                .as_ref()
                .map_or(String::new(), |test| format!("  test {test}")),
            validation.episodes,
            self.experiment.batch_norm,
            if better { ", best so far" } else { "" },
        ));
        let shares = found.deviations.iter().map(LayerDeviation::share);
        let largest = shares.reduce(f64::max);
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

    /// Saves `step-N` where one is kept, and the last checkpoint after it, after a validation, and from time to time.
    fn save_if_due(&mut self, state: &State, validated: bool) -> Result<(), TrainError> {
        let config = &self.experiment.train;
        let kept = state.step.is_multiple_of(config.checkpoint_every);
        if kept {
            self.save(state, &CheckpointChoice::Step(state.step))?;
            checkpoint::prune(&self.folder.checkpoints(), config.keep_checkpoints)?;
        }
        let minutes = self.saved.elapsed().as_secs_f64() / 60.0;
        let late = config.checkpoint_minutes > 0.0 && minutes >= config.checkpoint_minutes;
        if validated || kept || late {
            // Saved last: a resumed run continues after this step, so all else of the step must be done.
            self.save(state, &CheckpointChoice::Last)?;
        }
        Ok(())
    }

    pub(crate) fn save(
        &mut self,
        state: &State,
        choice: &CheckpointChoice,
    ) -> Result<(), TrainError> {
        // Episodes of other images are in no checkpoint.
        self.pack.check_unchanged()?;
        self.saved = Instant::now();
        state.save(&self.folder.checkpoint(choice), self.experiment, self.model)?;
        if *choice == CheckpointChoice::Last {
            self.sessions.advance(state.step, self.clock.spent());
            let failed = |error| RunError::Write(self.folder.path().to_path_buf(), error);
            self.sessions.write().map_err(failed)?;
        }
        Ok(())
    }

    /// Time of all sessions so far.
    fn spent(&self) -> Spent {
        self.sessions.before() + self.clock.spent()
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
}
