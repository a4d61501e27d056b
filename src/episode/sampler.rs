//! Episodes, addressed and not streamed: episode i of a part under a seed is a pure function of the three.
use std::sync::Arc;

use ndarray::Array4;

use crate::base::random::{Purpose, Random};
use crate::episode::augment::Augmenter;
use crate::episode::episode::{Episode, EpisodeDraw, EpisodePlan, EpisodeShape, ImageSet, Sample};
use crate::pack::error::DataError;
use crate::pack::pack::{Element, Pack};
use crate::pack::part::Part;
use crate::pack::pixels::turn;
use crate::settings::episode::{QuerySampling, Rotations};

/// Degrees that LGM-Net's program turns a class by: ±1, ±¼ and 0 times 45.
const LGM_NET_ANGLES: [f32; 5] = [-45.0, -11.25, 0.0, 11.25, 45.0];

/// Draws the episodes of one part of a pack.
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
    /// # Errors
    /// Too few classes in the part, too few images in a class, or rotations of images that are not square.
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
                "{way} ways{and} asked for, {available} classes there"
            ));
        }
        let support = shot + unlabeled;
        let needed = match self.draw.query_sampling {
            QuerySampling::Overlapping => support.max(query),
            // At-random queries come out of what all classes of an episode have left.
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
                    "{shot} shots{and} and {query} queries a class asked for, class `{name}` has {images} images"
                ));
            }
        }
        let size = self.pack.shape();
        if size.element == Element::Float && !self.draw.is_plain() {
            return refuse(
                "embeddings can be neither rotated nor jittered nor be a `photo`".to_owned(),
            );
        }
        if self.draw.rotations != Rotations::None && size.height != size.width {
            return refuse(format!("rotations need square images, these are {size}"));
        }
        let hue = self.draw.photo.map_or(0.0, |photo| photo.hue);
        if hue != 0.0 && size.channels != 3 {
            return refuse(format!(
                "`episode.photo.hue` is {hue}, expected 0 for images that are not RGB; these are {size}"
            ));
        }
        Ok(())
    }

    /// Classes that episodes draw from; with rotations as classes, four times those of the part.
    pub fn class_count(&self) -> usize {
        let turns = if self.draw.rotations == Rotations::AsClasses {
            4
        } else {
            1
        };
        self.classes.len() * turns
    }

    /// Where the images come from.
    pub fn pack(&self) -> &Pack {
        &self.pack
    }

    /// Name of the class split.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Which classes of it.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Seed of the draws.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How episodes are drawn and augmented.
    pub fn draw(&self) -> &EpisodeDraw {
        &self.draw
    }

    /// Sizes of an episode.
    pub fn shape(&self) -> EpisodeShape {
        self.shape
    }

    /// Episode `index` by its image indices.
    pub fn plan(&self, index: u64) -> EpisodePlan {
        let shape = self.shape;
        let slots = shape.way + shape.distractors;
        let mut random = self.random(Purpose::Episode, index);
        let mut plan = EpisodePlan {
            classes: Vec::with_capacity(slots),
            places: Vec::with_capacity(slots),
            quarter_turns: Vec::with_capacity(slots),
            angles: Vec::with_capacity(slots),
            support: Vec::new(),
            query: Vec::new(),
        };
        let (mut unlabeled, mut left) = (Vec::new(), Vec::new());
        for (slot, drawn) in random
            .choose_distinct(self.class_count() as u32, slots as u32)
            .into_iter()
            .enumerate()
        {
            let drawn = drawn as usize;
            let class = self.classes[drawn % self.classes.len()];
            plan.classes.push(class);
            plan.places.push(drawn);
            plan.quarter_turns.push(match self.draw.rotations {
                Rotations::None | Rotations::LgmNet => 0,
                Rotations::PerClass => random.below(4) as u8,
                Rotations::AsClasses => (drawn / self.classes.len()) as u8,
            });
            plan.angles.push(match self.draw.rotations {
                Rotations::LgmNet => LGM_NET_ANGLES[random.below(5) as usize],
                _ => 0.0,
            });
            let range = self.pack.class_range(class);
            let distractor = slot >= shape.way;
            let shot = if distractor { 0 } else { shape.shot };
            let taken = match (distractor, self.draw.query_sampling) {
                (true, _) => shape.unlabeled,
                (false, QuerySampling::Balanced) => shot + shape.unlabeled + shape.query,
                (false, QuerySampling::Random) => range.len(),
                (false, QuerySampling::Overlapping) => shot + shape.unlabeled,
            };
            let mut draw = |count: usize| {
                let images = random.choose_distinct(range.len() as u32, count as u32);
                images.into_iter().map(move |image| Sample {
                    image: range.start + image as usize,
                    slot,
                    labeled: true,
                })
            };
            let mut samples = draw(taken);
            plan.support.extend(samples.by_ref().take(shot));
            let hidden = samples.by_ref().take(shape.unlabeled);
            unlabeled.extend(hidden.map(|sample| Sample {
                labeled: false,
                ..sample
            }));
            left.extend(samples);
            if !distractor && self.draw.query_sampling == QuerySampling::Overlapping {
                left.extend(draw(shape.query));
            }
        }
        // Their order would tell the class.
        random.shuffle(&mut unlabeled);
        plan.support.extend(unlabeled);
        match self.draw.query_sampling {
            QuerySampling::Balanced | QuerySampling::Overlapping => plan.query = left,
            QuerySampling::Random => {
                let count = (shape.way * shape.query) as u32;
                let chosen = random.choose_distinct(left.len() as u32, count);
                plan.query
                    .extend(chosen.into_iter().map(|place| left[place as usize]));
            }
        }
        plan
    }

    /// The part has its own stream, so that no seed makes two parts draw alike.
    fn random(&self, purpose: Purpose, index: u64) -> Random {
        Random::new(self.seed, purpose, (self.part as u64) << 60 | index)
    }

    /// Episode `index` with its pixels.
    pub fn episode(&self, index: u64) -> Episode {
        self.images_of(index, &self.plan(index))
    }

    /// The pixels of a plan, augmented as episode `index` is.
    pub fn images_of(&self, index: u64, plan: &EpisodePlan) -> Episode {
        let mut random = self.random(Purpose::Augmentation, index);
        let labels = &plan.places[..self.shape.way];
        Episode {
            index,
            classes: labels.iter().map(|&place| place as i64).collect(),
            support: self.images(index, &plan.support, plan, &mut random),
            query: self.images(index, &plan.query, plan, &mut random),
        }
    }

    /// All images of the classes of episode `index`, augmented as the episode is.
    pub fn all_images(&self, index: u64) -> ImageSet {
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
        let mut of_episode = self.random(Purpose::EpisodeColors, index);
        let mut augmenter = Augmenter::new(&self.draw, shape, random, &mut of_episode);
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
