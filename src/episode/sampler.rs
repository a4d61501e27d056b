//! Draws episodes by index: an episode is a pure function of seed, part of the split, and index.

use std::sync::Arc;

use ndarray::Array4;

use crate::base::random::{Purpose, Random};
use crate::episode::augment::Augmenter;
use crate::episode::episode::{Episode, EpisodeDraw, EpisodePlan, EpisodeShape, ImageSet, Sample};
use crate::episode::plan::{class_count, draw_plan};
use crate::pack::error::DataError;
use crate::pack::pack::Pack;
use crate::pack::part::Part;
use crate::pack::pixels::turn;
use crate::pack::shape::Element;
use crate::settings::episode::{QuerySampling, Rotations};

/// Draws the episodes of one part of a pack's class split.
#[derive(Clone)]
pub struct EpisodeSampler {
    pack: Arc<Pack>,
    scheme: String,
    part: Part,
    classes: Vec<usize>,
    shape: EpisodeShape,
    draw: EpisodeDraw,
    seed: u64,
}

impl EpisodeSampler {
    /// Creates a sampler for the classes of `part` in the split `scheme`.
    ///
    /// # Errors
    /// [`DataError::UnknownSplit`] if the pack has no split `scheme`. [`DataError::Episode`] if the part has too few
    /// classes, a class has too few images, or the images cannot be augmented as `draw` says (rotation needs square
    /// images, a change of hue needs RGB, embeddings cannot be augmented).
    pub fn new(
        pack: Arc<Pack>,
        scheme: &str,
        part: Part,
        shape: EpisodeShape,
        draw: EpisodeDraw,
        seed: u64,
    ) -> Result<EpisodeSampler, DataError> {
        let classes = pack.split(scheme, part)?.to_vec();
        let sampler = EpisodeSampler {
            pack,
            scheme: scheme.to_owned(),
            part,
            classes,
            shape,
            draw,
            seed,
        };
        sampler.check()?;
        Ok(sampler)
    }

    fn check(&self) -> Result<(), DataError> {
        let refuse = |reason: String| {
            Err(DataError::Episode {
                path: self.pack.path().to_path_buf(),
                part: self.part,
                reason,
            })
        };
        let EpisodeShape {
            way,
            shot,
            unlabeled,
            distractors,
            query,
        } = self.shape;
        let available = self.class_count();
        if available < way + distractors {
            let and = match distractors {
                0 => String::new(),
                count => format!(" and {count} distractors"),
            };
            return refuse(format!(
                "the episodes need {way} classes{and}, but there are {available}\n\
                 hint: lower `episode.way` (`evaluate --way`) or `episode.distractors`"
            ));
        }
        let support = shot + unlabeled;
        let needed = match self.draw.query_sampling {
            QuerySampling::Overlapping => support.max(query),
            // Random queries are drawn from the remaining images of all classes in the episode.
            QuerySampling::Balanced | QuerySampling::Random => support + query,
        };
        let poorest = self
            .classes
            .iter()
            .min_by_key(|&&class| self.pack.class_range(class).len());
        if let Some(&class) = poorest {
            let images = self.pack.class_range(class).len();
            if images < needed {
                let name = &self.pack.metadata().class_names[class];
                let and = match unlabeled {
                    0 => String::new(),
                    count => format!(", {count} unlabelled images"),
                };
                return refuse(format!(
                    "each class needs {shot} shots{and} and {query} queries, but class `{name}` has {images} images\n\
                     hint: lower the numbers of images in `episode` (`evaluate --shot`, `--query`)"
                ));
            }
        }
        let size = self.pack.shape();
        if size.element == Element::Float && !self.draw.is_plain() {
            return refuse(
                "embeddings cannot be augmented\nhint: set `episode.rotations: none` and leave out \
                 `episode.jitter` and `episode.photo`"
                    .to_owned(),
            );
        }
        if self.draw.rotations != Rotations::None && size.height != size.width {
            return refuse(format!(
                "rotations need square images, but these are {size}"
            ));
        }
        let hue = self.draw.photo.map_or(0.0, |photo| photo.hue);
        if hue != 0.0 && size.channels != 3 {
            return refuse(format!(
                "`episode.photo.hue` is {hue}, expected 0 for images that are not RGB; these are {size}"
            ));
        }
        Ok(())
    }

    /// Number of classes that episodes are drawn from: four times the classes of the part if
    /// [`Rotations::AsClasses`] is set.
    pub fn class_count(&self) -> usize {
        class_count(&self.classes, &self.draw)
    }

    /// The pack that images are read from.
    pub fn pack(&self) -> &Pack {
        &self.pack
    }

    /// Name of the class split.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The part of the split.
    pub fn part(&self) -> Part {
        self.part
    }

    /// The seed of all draws.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How episodes are drawn and augmented.
    pub fn draw(&self) -> &EpisodeDraw {
        &self.draw
    }

    /// Sizes of each episode.
    pub fn shape(&self) -> EpisodeShape {
        self.shape
    }

    /// Draws the classes and images of episode `index`, without reading pixels.
    pub fn plan(&self, index: u64) -> EpisodePlan {
        let mut random = self.random(Purpose::Episode, index);
        draw_plan(
            &self.pack,
            &self.classes,
            self.shape,
            &self.draw,
            &mut random,
        )
    }

    /// The generator for episode `index`. Each part has its own stream, so the same seed draws differently in each.
    fn random(&self, purpose: Purpose, index: u64) -> Random {
        Random::new(self.seed, purpose, (self.part as u64) << 60 | index)
    }

    /// Draws episode `index` with its pixels.
    pub fn episode(&self, index: u64) -> Episode {
        self.episode_of_plan(index, &self.plan(index))
    }

    /// Reads the images of `plan` and augments them with the random numbers of episode `index`.
    pub fn episode_of_plan(&self, index: u64, plan: &EpisodePlan) -> Episode {
        let mut random = self.random(Purpose::Augmentation, index);
        let classes = &plan.class_indices[..self.shape.way];
        Episode {
            index,
            classes: classes.iter().map(|&class| class as i64).collect(),
            support: self.images(index, &plan.support, plan, &mut random),
            query: self.images(index, &plan.query, plan, &mut random),
        }
    }

    /// Reads all images of the n classes of episode `index`, labelled by class slot and augmented as in an episode.
    pub(crate) fn all_class_images(&self, index: u64) -> ImageSet {
        let plan = self.plan(index);
        let classes = plan.classes[..self.shape.way].iter().enumerate();
        let samples: Vec<Sample> = classes
            .flat_map(|(slot, &class)| {
                self.pack.class_range(class).map(move |image| Sample {
                    image,
                    slot,
                    labeled: true,
                })
            })
            .collect();
        self.images(
            index,
            &samples,
            &plan,
            &mut self.random(Purpose::Augmentation, index),
        )
    }

    fn images(
        &self,
        index: u64,
        samples: &[Sample],
        plan: &EpisodePlan,
        random: &mut Random,
    ) -> ImageSet {
        let shape = self.pack.shape();
        let mut episode_random = self.random(Purpose::EpisodeColors, index);
        let mut augmenter = Augmenter::new(&self.draw, shape, random, &mut episode_random);
        let mut pixels = vec![0; samples.len() * shape.bytes()];
        for (target, sample) in pixels.chunks_exact_mut(shape.bytes()).zip(samples) {
            let source = self.pack.image(sample.image);
            let turned;
            let source = match plan.quarter_turns[sample.slot] {
                0 => source,
                turns => {
                    turned = turn(source, shape, turns);
                    &turned
                }
            };
            augmenter.image(source, plan.angles[sample.slot], target);
        }
        let (height, width) = (shape.height, shape.width);
        let planes = shape.bytes() / (height * width);
        let size = (samples.len(), planes, height, width);
        ImageSet {
            element: shape.element,
            images: Array4::from_shape_vec(size, pixels).expect("as many pixels as the shape says"),
            labels: samples
                .iter()
                .map(|sample| if sample.labeled { sample.slot } else { self.shape.way } as i64)
                .collect(),
        }
    }
}
