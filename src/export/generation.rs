//! A trained HyperTransformer and labelled pictures → a CNN that stands alone.
use tch::Tensor;

use crate::base::compute::{Compute, Together};
use crate::evaluate::answers::Answers;
use crate::export::error::ExportError;
use crate::export::fold;
use crate::export::standalone::{FORMAT_VERSION, Origin, StandaloneCnn};
use crate::model::batch::{EpisodeBatch, tensor_of_bytes};
use crate::model::hypertransformer::{HyperTransformer, Views};
use crate::pictures::labelled::LabelledPictures;
use crate::pictures::preparation::Preparation;
use crate::settings::cnn::BatchNormMode;
use crate::settings::experiment::Experiment;

/// Pictures that are held out at most, one after the other; each costs a generation.
const MOST_HELD_OUT: usize = 100;

/// A trained HyperTransformer that writes CNNs; φ comes in as an argument.
#[derive(Clone, Debug)]
pub struct CnnWriter {
    model: HyperTransformer,
    way: usize,
    takes_unlabeled: bool,
    batch_norm: BatchNormMode,
    preparation: Preparation,
    origin: Origin,
}

impl CnnWriter {
    /// Of a model, its experiment, and how its pictures are prepared; `batch_norm` overrides the experiment's.
    ///
    /// # Errors
    /// If the CNN's batch-norm would depend on the pictures that it is asked about.
    pub fn new(
        model: HyperTransformer,
        experiment: &Experiment,
        preparation: Preparation,
        batch_norm: Option<BatchNormMode>,
        (run, checkpoint_step): (&str, u64),
    ) -> Result<CnnWriter, ExportError> {
        let mode = batch_norm.unwrap_or(experiment.batch_norm);
        if mode == BatchNormMode::Query {
            return Err(ExportError::NotExportable(format!(
                "{run} normalises each batch of queries by itself (batch_norm: query): a CNN that stands alone meets \
                 one picture at a time and has no such batch\nhint: train with `batch_norm: support`, as \
                 presets/fast.yaml does; or try `--batch-norm support`, and expect less accuracy than in training"
            )));
        }
        Ok(CnnWriter {
            way: experiment.episode.way,
            takes_unlabeled: experiment.episode.unlabeled > 0,
            batch_norm: mode,
            preparation,
            origin: Origin {
                run: run.to_owned(),
                checkpoint_step,
                batch_norm: mode.to_string(),
                program: format!("hypertransformer {}", env!("CARGO_PKG_VERSION")),
            },
            model,
        })
    }

    /// Splits φ and the moving averages, for any number of CNNs.
    pub fn views(&self, phi: &Tensor, buffers: &Tensor) -> Views {
        self.model.views(phi, buffers)
    }

    /// How pictures are prepared.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// Most classes.
    pub fn way(&self) -> usize {
        self.way
    }

    /// Whether the support set fits the model, before anything is computed.
    ///
    /// # Errors
    /// What does not fit, and what to train.
    pub fn check(&self, support: &LabelledPictures, unlabeled: usize) -> Result<(), ExportError> {
        let (classes, way, run) = (support.classes.len(), self.way, &self.origin.run);
        if classes > way {
            return Err(ExportError::Support(format!(
                "{classes} classes, and {run} was trained for {way} at most\nhint: train with `episode.way: {classes}` \
                 or more, e.g. `hypertransformer train EXPERIMENT.yaml --set episode.way={classes}`"
            )));
        }
        if unlabeled > 0 && !self.takes_unlabeled {
            return Err(ExportError::Support(format!(
                "{run} was trained without unlabelled pictures and cannot read any\nhint: leave --unlabeled out, or \
                 train with `episode.unlabeled: 1` or more"
            )));
        }
        Ok(())
    }

    /// The CNN for these pictures, which fill the first slots of the trained way; `unlabeled` are `[C, H, W]` bytes.
    ///
    /// # Errors
    /// If they do not fit the model or give weights that are not finite.
    pub fn write(
        &self,
        views: &Views,
        support: &LabelledPictures,
        unlabeled: &[Vec<u8>],
    ) -> Result<StandaloneCnn, ExportError> {
        self.check(support, unlabeled.len())?;
        let pixels: Vec<u8> = support
            .pictures
            .iter()
            .flat_map(|picture| &picture.pixels)
            .chain(unlabeled.iter().flatten())
            .copied()
            .collect();
        let labels: Vec<i64> = support
            .pictures
            .iter()
            .map(|picture| picture.class as i64)
            .chain(unlabeled.iter().map(|_| self.way as i64))
            .collect();
        let preparation = &self.preparation;
        let [channels, height, width] = preparation.shape();
        let shape = [labels.len(), channels, height, width];
        let pictures = tensor_of_bytes(&pixels, shape, views.device());
        let labels = Tensor::from_slice(&labels).to_device(views.device());
        let batch = EpisodeBatch::of_support(&pictures, &labels);
        let theta = tch::no_grad(|| self.model.theta(views, &batch, self.batch_norm));
        let cnn = StandaloneCnn {
            format_version: FORMAT_VERSION,
            labels: support.classes.clone(),
            preparation: preparation.clone(),
            layers: fold::layers(self.model.cnn().config(), &theta, support.classes.len()),
            origin: self.origin.clone(),
        };
        match cnn.is_finite() {
            true => Ok(cnn),
            false => Err(ExportError::NotFinite),
        }
    }

    /// Each picture asked of the CNN that all others give; of classes with at least two pictures, a hundred at most.
    /// None where no class has two.
    ///
    /// # Errors
    /// As of [`CnnWriter::write`].
    pub fn leave_one_out(
        &self,
        compute: &Compute,
        shared: [&Tensor; 2],
        support: &LabelledPictures,
        unlabeled: &[Vec<u8>],
    ) -> Result<Option<Answers>, ExportError> {
        let counts = support.counts();
        let candidates: Vec<usize> = (0..support.pictures.len())
            .filter(|&index| counts[support.pictures[index].class] > 1)
            .collect();
        if candidates.is_empty() {
            return Ok(None);
        }
        // Pictures lie class by class: with equal steps every class has its share.
        let step = candidates.len().div_ceil(MOST_HELD_OUT);
        let held_out: Vec<usize> = candidates.into_iter().step_by(step).collect();
        let answer = |views: &Views, &index: &usize| {
            let mut others = support.clone();
            let asked = others.pictures.remove(index);
            let cnn = self.write(views, &others, unlabeled)?;
            Ok((
                asked.class,
                most_probable(&cnn.probabilities(&asked.pixels)),
            ))
        };
        let pairs = compute.map(
            &held_out,
            Together::ALONE,
            shared,
            |group, [phi, buffers]| {
                let views = self.views(&phi, &buffers);
                let answers = group.iter().map(|index| answer(&views, index));
                answers.collect::<Result<Vec<_>, ExportError>>()
            },
        );
        let pairs: Vec<_> = pairs.into_iter().collect::<Result<_, _>>()?;
        let pairs = pairs.into_iter().flatten();
        Ok(Some(Answers::of(support.classes.len(), pairs)))
    }
}

/// Index of the largest.
pub fn most_probable(probabilities: &[f64]) -> usize {
    let ranked = |left: &usize, right: &usize| {
        let order = probabilities[*left].total_cmp(&probabilities[*right]);
        // The first of equals, as argmax has it.
        order.then(right.cmp(left))
    };
    (0..probabilities.len()).max_by(ranked).unwrap_or(0)
}
