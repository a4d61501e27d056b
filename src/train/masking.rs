//! Hides random support samples during training, so that the model learns to work with fewer (§5.3, footnote 4).

use crate::base::random::{Purpose, Random};
use crate::episode::episode::ImageSet;
use crate::settings::experiment::Experiment;
use crate::settings::train::MaskingSchedule;

/// Probabilities with which a step hides unlabelled and labelled samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Masking {
    unlabeled: f64,
    labeled: f64,
    way: i64,
    seed: u64,
}

impl Masking {
    /// The masking of `step`, counted from 0; `None` if it hides nothing.
    pub fn at(experiment: &Experiment, step: u64) -> Option<Masking> {
        let (options, seed) = (&experiment.train.masking, experiment.train.seed);
        let mut random = Random::new(seed, Purpose::Masking, 1 << 63 | step);
        let mut at_step = |highest: f64| match options.schedule {
            MaskingSchedule::Decay => {
                let half = experiment.train.steps as f64 / 2.0;
                highest * (1.0 - step as f64 / half).max(0.0)
            }
            MaskingSchedule::Uniform => highest * f64::from(random.unit_f32()),
        };
        let (unlabeled, labeled) = (at_step(options.unlabeled), at_step(options.labeled));
        (unlabeled > 0.0 || labeled > 0.0).then_some(Masking {
            unlabeled,
            labeled,
            way: experiment.episode.way as i64,
            seed,
        })
    }

    /// One number per sample of the support set of episode `episode`: 0 if it is hidden, 1 otherwise. A class of which all
    /// labelled samples would be hidden keeps the first.
    pub fn seen(&self, episode: u64, support: &ImageSet) -> Vec<f32> {
        let mut random = Random::new(self.seed, Purpose::Masking, episode);
        let mut seen: Vec<f32> = support
            .labels
            .iter()
            .map(|&label| {
                let probability = match label == self.way {
                    true => self.unlabeled,
                    false => self.labeled,
                };
                if f64::from(random.unit_f32()) < probability {
                    0.0
                } else {
                    1.0
                }
            })
            .collect();
        for class in 0..self.way {
            let mut of_class = (0..seen.len()).filter(|&index| support.labels[index] == class);
            if of_class.clone().all(|index| seen[index] == 0.0)
                && let Some(first) = of_class.next()
            {
                seen[first] = 1.0;
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::shape::Element;

    fn support() -> ImageSet {
        let labels = (0..4).flat_map(|class| [class; 5]).chain([4; 200]);
        ImageSet {
            element: Element::Byte,
            images: ndarray::Array4::zeros((220, 1, 1, 1)),
            labels: labels.collect(),
        }
    }

    fn experiment(schedule: MaskingSchedule) -> Experiment {
        let mut experiment = Experiment::default();
        experiment.episode.way = 4;
        experiment.train.steps = 1000;
        experiment.train.masking.unlabeled = 0.7;
        experiment.train.masking.schedule = schedule;
        experiment
    }

    #[test]
    fn the_papers_schedule_falls_to_nothing_at_half_the_steps() {
        let experiment = experiment(MaskingSchedule::Decay);
        let hidden = |step| {
            Masking::at(&experiment, step).map(|masking| {
                let seen = masking.seen(7, &support());
                assert!(
                    seen[..20].iter().all(|&seen| seen == 1.0),
                    "labelled samples are kept"
                );
                seen.iter().filter(|&&seen| seen == 0.0).count()
            })
        };
        let (first, quarter) = (hidden(0).unwrap(), hidden(250).unwrap());
        assert!((110..170).contains(&first), "70 % of 200: {first}");
        assert!((45..95).contains(&quarter), "35 % of 200: {quarter}");
        assert_eq!(hidden(500), None);
    }

    #[test]
    fn the_uniform_schedule_differs_by_step_and_not_by_call() {
        let experiment = experiment(MaskingSchedule::Uniform);
        let at = |step| Masking::at(&experiment, step);
        assert_eq!(at(3), at(3));
        assert_ne!(at(3), at(4));
    }

    #[test]
    fn a_class_never_loses_all_its_labelled_samples() {
        let mut experiment = experiment(MaskingSchedule::Decay);
        experiment.train.masking.labeled = 1.0;
        let seen = Masking::at(&experiment, 0).unwrap().seen(0, &support());
        assert_eq!(seen[..20].iter().sum::<f32>(), 4.0);
    }
}
