//! Validation during training.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::compute::Compute;
use crate::episode::sampler::EpisodeSampler;
use crate::evaluate::adaptation::{LayerDeviation, MeanWeights};
use crate::evaluate::episodes::evaluate;
use crate::evaluate::summary::Summary;
use crate::model::trained::Trained;
use crate::pack::pack::Pack;
use crate::pack::part::Part;
use crate::report::averages::Averages;
use crate::run::assemble::evaluation_sampler;
use crate::settings::cnn::BatchNormMode;
use crate::settings::experiment::Experiment;
use crate::train::error::TrainError;
use crate::train::metrics;

/// Seed of the validation and test episodes during training. It is not the seed of the experiment, so that runs with
/// different seeds are validated on the same episodes.
const SEED: u64 = 1;

/// Number of tasks on which generated convolutions are compared at each validation.
const DEVIATION_EPISODES: u64 = 32;

/// The episodes of validation, and those of test unless `train.log_test_accuracy` is false.
pub(crate) struct Validation {
    validation: EpisodeSampler,
    test: Option<EpisodeSampler>,
    episodes: u64,
    batch_norm: BatchNormMode,
}

/// What a validation found.
pub(crate) struct Validated {
    pub(crate) validation: Summary,
    pub(crate) test: Option<Summary>,
    /// How far each generated convolution varies between tasks.
    pub(crate) deviations: Vec<LayerDeviation>,
}

impl Validation {
    pub(crate) fn new(experiment: &Experiment, pack: &Arc<Pack>) -> Result<Validation, TrainError> {
        let sampler = |part| evaluation_sampler(experiment, pack, part, SEED);
        let test = experiment.train.log_test_accuracy.then_some(Part::Test);
        Ok(Validation {
            validation: sampler(Part::Validation)?,
            test: test.map(sampler).transpose()?,
            episodes: experiment.validation.episodes as u64,
            batch_norm: experiment.batch_norm,
        })
    }

    /// The validation episodes.
    pub(crate) fn sampler(&self) -> &EpisodeSampler {
        &self.validation
    }

    /// Measures a model; `None` if it was interrupted.
    pub(crate) fn run(
        &self,
        compute: &Compute,
        trained: &Trained,
        interrupted: &AtomicBool,
    ) -> Option<Validated> {
        let summary = |sampler: &EpisodeSampler| {
            let (episodes, mode) = (self.episodes, self.batch_norm);
            let go_on = |_: &[_]| !interrupted.load(Ordering::Relaxed);
            let records = evaluate(compute, trained, sampler, episodes, mode, go_on);
            (records.len() as u64 == episodes).then(|| Summary::of(&records))
        };
        let validation = summary(&self.validation)?;
        let test = match &self.test {
            Some(sampler) => Some(summary(sampler)?),
            None => None,
        };
        let means = MeanWeights::over_tasks(
            trained,
            &self.validation,
            DEVIATION_EPISODES,
            self.batch_norm,
        );
        Some(Validated {
            validation,
            test,
            deviations: means.deviations,
        })
    }
}

impl Validated {
    /// The numbers that are recorded.
    pub(crate) fn averages(&self) -> Averages {
        let mut averages = Averages::default();
        averages.measure(metrics::VALIDATION, &self.validation, 1.0);
        if let Some(test) = &self.test {
            averages.measure(metrics::TEST, test, 1.0);
        }
        for found in &self.deviations {
            averages.measure_part(&metrics::DEVIATION, found.layer, found);
        }
        averages
    }
}
