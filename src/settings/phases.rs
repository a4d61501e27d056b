//! Phases of a training: the first `train.steps` steps, then those of `train.phases`, each an experiment of its own.

use serde_yaml::{Mapping, Value};

use crate::settings::experiment::{Experiment, by_name};
use crate::settings::train::PhaseConfig;
use crate::settings::tree::merge;

/// Settings that may differ between phases: they change neither the model nor how it is evaluated. Names that end in a
/// dot stand for a section.
const CHANGEABLE: [&str; 19] = [
    "episode.query",
    "episode.query_sampling",
    "episode.rotations",
    "episode.jitter.",
    "episode.photo.",
    "train.optimizer",
    "train.learning_rate",
    "train.generator_rate",
    "train.convolution_generator_rate",
    "train.schedule",
    "train.warmup_steps",
    "train.decay_rate",
    "train.decay_steps",
    "train.clip_norm",
    "train.weight_decay",
    "train.beta2",
    "train.l2",
    "train.label_smoothing",
    "train.masking.",
];

/// A phase of a training.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its number, from 0.
    pub number: usize,
    /// Steps before it.
    pub start: u64,
    /// Its settings. `train.steps` is its length, and it has no further phases.
    pub experiment: Experiment,
}

impl Phase {
    /// Steps after which it ends.
    pub fn end(&self) -> u64 {
        self.start + self.experiment.train.steps
    }
}

impl Experiment {
    /// Steps of all phases.
    pub fn total_steps(&self) -> u64 {
        let train = &self.train;
        let later = train.phases.iter().map(|phase| phase.steps);
        later.fold(train.steps, u64::saturating_add)
    }

    /// The phases in order, at least one.
    ///
    /// # Errors
    /// What is wrong with the settings of a phase: its path in the experiment and the fault.
    pub fn phases(&self) -> Result<Vec<Phase>, String> {
        let mut whole = self.clone();
        whole.train.phases.clear();
        let mut phases = vec![Phase {
            number: 0,
            start: 0,
            experiment: whole.clone(),
        }];
        for (number, config) in (1..).zip(&self.train.phases) {
            let experiment = changed(&whole, config)
                .map_err(|fault| format!("train.phases[{number}].settings: {fault}"))?;
            phases.push(Phase {
                number,
                start: phases.last().map_or(0, Phase::end),
                experiment,
            });
        }
        Ok(phases)
    }
}

/// The experiment with the settings of a phase.
fn changed(whole: &Experiment, config: &PhaseConfig) -> Result<Experiment, String> {
    let settings = Value::Mapping(config.settings.clone());
    let names = by_name(&serde_json::to_value(&settings).map_err(|error| error.to_string())?);
    let changeable = |name: &str| {
        let is = |known: &&str| name == *known || known.ends_with('.') && name.starts_with(*known);
        CHANGEABLE.iter().any(is)
    };
    if let Some(name) = names.keys().find(|name| !changeable(name)) {
        let known = CHANGEABLE.map(|name| match name.strip_suffix('.') {
            Some(section) => format!("{section}.*"),
            None => name.to_owned(),
        });
        return Err(format!(
            "{name}: expected one of {}, because the model and its evaluation stay the same",
            known.join(", ")
        ));
    }
    let mut tree = serde_yaml::to_value(whole).unwrap_or(Value::Mapping(Mapping::new()));
    merge(&mut tree, settings);
    let mut experiment: Experiment =
        serde_yaml::from_value(tree).map_err(|error| error.to_string())?;
    experiment.train.steps = config.steps;
    Ok(experiment)
}
