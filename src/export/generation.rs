//! Generates a stand-alone CNN from labelled pictures with a trained HyperTransformer.

use tch::Tensor;

use crate::base::compute::{BatchSize, Compute};
use crate::evaluate::answers::Answers;
use crate::export::error::ExportError;
use crate::export::fold;
use crate::export::standalone::{FORMAT_VERSION, Origin, StandaloneCnn};
use crate::model::batch::{EpisodeBatch, tensor_of_bytes};
use crate::model::hypertransformer::HyperTransformer;
use crate::model::state::{ModelState, Views};
use crate::pictures::labelled::LabelledPictures;
use crate::pictures::preparation::Preparation;
use crate::settings::cnn::BatchNormMode;
use crate::settings::experiment::Experiment;

/// Largest number of pictures that are held out in turn; each costs one generation.
const MAX_HELD_OUT: usize = 100;

/// Writes stand-alone CNNs with a HyperTransformer; φ is passed to each call.
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
    /// Creates a writer for a model that was trained with `experiment`. `batch_norm` overrides the experiment's mode;
    /// `run` and `checkpoint_step` name the origin of φ.
    ///
    /// # Errors
    /// [`ExportError::NotExportable`] if the mode is [`BatchNormMode::Query`], in which answers depend on the other
    /// queries.
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
                "{run} normalises each batch of queries with its own statistics (batch_norm: query), but a stand-alone \
                 CNN sees one picture at a time\nhint: train with `batch_norm: support`, as presets/fast.yaml does, or \
                 use `--batch-norm support` and expect a lower accuracy than in training"
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

    /// Splits φ and the moving averages into named tensors, once for any number of CNNs.
    pub fn views(&self, state: &ModelState) -> Views {
        self.model.views(state)
    }

    /// How pictures are prepared.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// Largest number of classes.
    pub fn way(&self) -> usize {
        self.way
    }

    /// Checks that the model can use `support` and `unlabeled` unlabelled pictures, before anything is computed.
    ///
    /// # Errors
    /// [`ExportError::Support`] if there are too many classes, or if the model was trained without unlabelled pictures.
    pub fn check(&self, support: &LabelledPictures, unlabeled: usize) -> Result<(), ExportError> {
        let (classes, way, run) = (support.classes.len(), self.way, &self.origin.run);
        if classes > way {
            return Err(ExportError::Support(format!(
                "there are {classes} classes, but {run} was trained for at most {way}\nhint: train with \
                 `episode.way: {classes}` or more, e.g. \
                 `hypertransformer train EXPERIMENT.yaml --set episode.way={classes}`"
            )));
        }
        if unlabeled > 0 && !self.takes_unlabeled {
            return Err(ExportError::Support(format!(
                "{run} was trained without unlabelled pictures and cannot use any\nhint: leave out --unlabeled, or \
                 train with `episode.unlabeled: 1` or more"
            )));
        }
        Ok(())
    }

    /// Generates the CNN for `support`, whose classes take the first class slots. Each element of `unlabeled` is a
    /// prepared picture, `[C, H, W]` bytes.
    ///
    /// # Errors
    /// [`ExportError::Support`] if the model cannot use the pictures, [`ExportError::NotFinite`] if a generated weight
    /// is not finite.
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
        let batch = EpisodeBatch::without_queries(&pictures, &labels);
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

    /// Leave-one-out accuracy: classifies each picture with the CNN generated from all others. Uses pictures of classes
    /// with at least two pictures, at most a hundred, spread over the classes. Returns `None` if no class has two.
    ///
    /// # Errors
    /// The errors of [`CnnWriter::write`].
    pub fn leave_one_out(
        &self,
        compute: &Compute,
        state: &ModelState,
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
        // Pictures are sorted by class, so equal steps represent every class.
        let step = candidates.len().div_ceil(MAX_HELD_OUT);
        let held_out: Vec<usize> = candidates.into_iter().step_by(step).collect();
        let answer = |views: &Views, &index: &usize| {
            let mut others = support.clone();
            let held_out = others.pictures.remove(index);
            let cnn = self.write(views, &others, unlabeled)?;
            Ok((
                held_out.class,
                most_probable(&cnn.probabilities(&held_out.pixels)),
            ))
        };
        let pairs = compute.map(
            &held_out,
            BatchSize::ONE,
            || state.shallow_clone(),
            |group, state| {
                let views = self.views(&state);
                let answers = group.iter().map(|index| answer(&views, index));
                answers.collect::<Result<Vec<_>, ExportError>>()
            },
        );
        let pairs: Vec<_> = pairs.into_iter().collect::<Result<_, _>>()?;
        let pairs = pairs.into_iter().flatten();
        Ok(Some(Answers::of(support.classes.len(), pairs)))
    }
}

/// Index of the largest probability, the first one among equals; 0 if there are none.
pub fn most_probable(probabilities: &[f64]) -> usize {
    let ranked = |left: &usize, right: &usize| {
        let order = probabilities[*left].total_cmp(&probabilities[*right]);
        // Equal values are ordered such that the first one wins.
        order.then(right.cmp(left))
    };
    (0..probabilities.len()).max_by(ranked).unwrap_or(0)
}
