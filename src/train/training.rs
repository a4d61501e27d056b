//! The training loop.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tch::Device;

use crate::base::compute::Compute;
use crate::episode::sampler::EpisodeSampler;
use crate::evaluate::adaptation::MeanWeights;
use crate::evaluate::episodes::evaluate;
use crate::evaluate::summary::Summary;
use crate::model::hypertransformer::HyperTransformer;
use crate::model::trained::Trained;
use crate::pack::error::list_names;
use crate::pack::pack::Pack;
use crate::pack::part::Part;
use crate::report::Report;
use crate::run::assemble::{build_model, evaluation_sampler, split_scheme, training_sampler};
use crate::run::checkpoint;
use crate::run::folder::{CheckpointChoice, RunFolder, facts};
use crate::settings::experiment::Experiment;
use crate::train::error::TrainError;
use crate::train::gradient::{Objective, StepGradient, step_gradient};
use crate::train::loader::training_loader;
use crate::train::optimizer::clip;
use crate::train::schedule::learning_rate;
use crate::train::state::State;
use crate::train::window::Window;

/// Share of the old value in a moving average, a step.
const MOVING_AVERAGE: f64 = 0.99;

/// Seed of the validation and test episodes that training looks at, apart from the one of the experiment so that
/// runs with different seeds are watched on the same episodes.
const WATCH_SEED: u64 = 1;

/// Tasks among which generated convolutions are compared at each validation.
const DEVIATION_EPISODES: u64 = 32;

/// Below this share of their norm generated convolutions are as good as the same for all tasks. At the start they
/// differ by half a per cent.
const SETTLED: f64 = 1e-3;

/// What the command line adds to the experiment.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Where the run lies.
    pub run_dir: PathBuf,
    /// Continue the run that is there.
    pub resume: bool,
    /// Replace the run that is there.
    pub force: bool,
    /// Print nothing but errors.
    pub quiet: bool,
}

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// All steps are done; best step and its validation accuracy.
    Finished(Option<(u64, f64)>),
    /// Interrupted after this many steps; the checkpoint is written.
    Interrupted(u64),
    /// Nothing was left to do.
    AlreadyFinished(u64),
}

/// Trains until the last step, an interrupt, or a fault.
///
/// # Errors
/// See [`TrainError`]; a checkpoint is never written with values that are not finite.
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
    let validation = evaluation_sampler(experiment, &pack, Part::Validation, WATCH_SEED)?;
    let test = match experiment.train.log_test_accuracy {
        true => Some(evaluation_sampler(
            experiment,
            &pack,
            Part::Test,
            WATCH_SEED,
        )?),
        false => None,
    };
    let device = compute.device;
    let (folder, mut state) = if options.resume {
        let folder = RunFolder::resume(&options.run_dir, experiment, &pack)?;
        let state = State::resumed(experiment, &model, device, &folder)?;
        (folder, state)
    } else {
        // What the run starts from is read first: --force may be about to replace the run that it lies in.
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
    let report = Report::create(folder.path(), steps, resumed, options.quiet)?;
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
        // From here on the run can be resumed, whatever becomes of what it started from.
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
        asked: head.classes,
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
                "starts from {}, but for {} parameters that it does not have: {}",
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
        let together = train.tasks_together();
        let batches = train.tasks_per_step.div_ceil(together);
        if self.compute.device == Device::Cpu && batches < self.compute.threads {
            self.report.say(&format!(
                "only {batches} of the threads have work: episodes are computed {together} at a time; a smaller \
                 train.tasks_together or a larger train.tasks_per_step gives it to more",
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
                &state.phi,
                &state.buffers,
                &batch,
                Objective::at(self.experiment, state.step),
            );
            let (gradient, norm) = clip(&step.gradient, config.clip_norm);
            self.check_finite(state.step, &step, norm)?;
            let rate = learning_rate(config, state.step);
            state.optimizer.step(&mut state.phi, &gradient, rate);
            state.buffers =
                &state.buffers * MOVING_AVERAGE + step.observed * (1.0 - MOVING_AVERAGE);
            state.step += 1;
            window.add(step.loss, step.accuracy, norm, batch.count());
            let last = state.step == config.steps;
            if state.step.is_multiple_of(config.log_every) || last {
                let means = window.means(loader.waited());
                self.report.scalars(
                    state.step,
                    &[
                        ("train/loss", means.loss),
                        ("train/accuracy", means.accuracy),
                        ("train/learning_rate", rate),
                        ("train/gradient_norm", means.gradient_norm),
                        ("speed/episodes_per_second", means.episodes_per_second),
                        ("speed/loader_wait", means.loader_wait),
                    ],
                )?;
                let speed = means.episodes_per_second;
                self.report
                    .progress(state.step, means.loss, means.accuracy, rate, speed);
                window = Window::new(loader.waited());
            }
            let validated = state.step.is_multiple_of(self.experiment.validation.every) || last;
            if validated {
                let start = Instant::now();
                self.validate(state)?;
                window.leave_out(start.elapsed());
            }
            let kept = state.step.is_multiple_of(config.checkpoint_every);
            if kept {
                self.save(state, &CheckpointChoice::Step(state.step))?;
                checkpoint::prune(&self.folder.checkpoints(), config.keep_checkpoints)?;
            }
            if validated || kept {
                // After all else that belongs to this step: a run goes on behind it.
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
            "none (too early)".to_owned()
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

    /// Validation (and test, if asked for) accuracy to the logs; the best by validation is kept.
    fn validate(&mut self, state: &mut State) -> Result<(), TrainError> {
        let episodes = self.experiment.validation.episodes as u64;
        let mode = self.experiment.batch_norm;
        let trained = Trained {
            model: self.model,
            phi: &state.phi,
            buffers: &state.buffers,
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
        let mut scalars = vec![
            ("validation/accuracy", validation.accuracy_mean),
            ("validation/accuracy_ci95", validation.accuracy_ci95),
            ("validation/loss", validation.loss_mean),
        ];
        if let Some(test) = test {
            scalars.push(("test/accuracy", test.accuracy_mean));
            scalars.push(("test/accuracy_ci95", test.accuracy_ci95));
        }
        let deviations = self.deviations(&trained);
        scalars.extend(deviations.iter().map(|(name, share)| (&**name, *share)));
        self.report.scalars(state.step, &scalars)?;
        let better = state
            .best
            .is_none_or(|(_, best)| validation.accuracy_mean > best);
        self.report.say(&format!(
            "step {}  validation {validation} ({} episodes, 95 % interval, batch-norm {mode}){}",
            state.step,
            validation.episodes,
            if better { ", best so far" } else { "" },
        ));
        let widest = deviations.iter().map(|(_, share)| *share).reduce(f64::max);
        if let Some(widest) = widest.filter(|widest| *widest < SETTLED) {
            self.report.say(&format!(
                "step {}  generated convolutions hardly differ between tasks, by {:.4} % of their norm at most: they are learned kernels in disguise; train.convolution_generator_rate below {} may prevent it",
                state.step,
                100.0 * widest,
                self.experiment.train.convolution_generator_rate(),
            ));
        }
        if better {
            state.best = Some((state.step, validation.accuracy_mean));
            self.save(state, &CheckpointChoice::Best)?;
        }
        Ok(())
    }

    /// How far each generated convolution differs between tasks, as a share of its norm, by the name of its curve.
    fn deviations(&self, trained: &Trained) -> Vec<(String, f64)> {
        let (sampler, mode) = (&self.validation, self.experiment.batch_norm);
        MeanWeights::over_tasks(trained, sampler, DEVIATION_EPISODES, mode)
            .deviations
            .iter()
            .map(|found| {
                let name = format!("validation/deviation_layer{}", found.layer);
                (name, found.share())
            })
            .collect()
    }

    fn save(&self, state: &State, choice: &CheckpointChoice) -> Result<(), TrainError> {
        state.save(&self.folder.checkpoint(choice), self.experiment, self.model)
    }
}
