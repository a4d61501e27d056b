//! Draws the classes and images of an episode.

use crate::base::random::Random;
use crate::episode::episode::{EpisodeDraw, EpisodePlan, EpisodeShape, Sample};
use crate::pack::pack::Pack;
use crate::settings::episode::{QuerySampling, Rotations};

/// Angles in degrees by which LGM-Net's program rotates a class: 45 times −1, −¼, 0, ¼ and 1.
const LGM_NET_ANGLES: [f32; 5] = [-45.0, -11.25, 0.0, 11.25, 45.0];

/// Number of classes to draw from: `classes`, or each of them in four rotations.
pub(super) fn class_count(classes: &[usize], draw: &EpisodeDraw) -> usize {
    match draw.rotations {
        Rotations::AsClasses => classes.len() * 4,
        Rotations::None | Rotations::PerClass | Rotations::LgmNet => classes.len(),
    }
}

/// Draws one episode from `classes`, which are indices of classes in `pack`. There must be enough classes and images.
pub(super) fn draw_plan(
    pack: &Pack,
    classes: &[usize],
    shape: EpisodeShape,
    draw: &EpisodeDraw,
    random: &mut Random,
) -> EpisodePlan {
    let slots = shape.way + shape.distractors;
    let mut plan = EpisodePlan {
        classes: Vec::with_capacity(slots),
        class_indices: Vec::with_capacity(slots),
        quarter_turns: Vec::with_capacity(slots),
        angles: Vec::with_capacity(slots),
        support: Vec::new(),
        query: Vec::new(),
    };
    let (mut unlabeled, mut left) = (Vec::new(), Vec::new());
    let drawn = random.choose_distinct(class_count(classes, draw) as u32, slots as u32);
    for (slot, index) in drawn.into_iter().enumerate() {
        let index = index as usize;
        let class = classes[index % classes.len()];
        plan.classes.push(class);
        plan.class_indices.push(index);
        plan.quarter_turns.push(match draw.rotations {
            Rotations::None | Rotations::LgmNet => 0,
            Rotations::PerClass => random.below(4) as u8,
            Rotations::AsClasses => (index / classes.len()) as u8,
        });
        plan.angles.push(match draw.rotations {
            Rotations::LgmNet => LGM_NET_ANGLES[random.below(5) as usize],
            _ => 0.0,
        });
        let range = pack.class_range(class);
        let distractor = slot >= shape.way;
        let shot = if distractor { 0 } else { shape.shot };
        let count = match (distractor, draw.query_sampling) {
            (true, _) => shape.unlabeled,
            (false, QuerySampling::Balanced) => shot + shape.unlabeled + shape.query,
            (false, QuerySampling::Random) => range.len(),
            (false, QuerySampling::Overlapping) => shot + shape.unlabeled,
        };
        let mut draw_images = |count: usize| {
            let images = random.choose_distinct(range.len() as u32, count as u32);
            images.into_iter().map(move |image| Sample {
                image: range.start + image as usize,
                slot,
                labeled: true,
            })
        };
        let mut samples = draw_images(count);
        plan.support.extend(samples.by_ref().take(shot));
        let hidden = samples.by_ref().take(shape.unlabeled);
        unlabeled.extend(hidden.map(|sample| Sample {
            labeled: false,
            ..sample
        }));
        left.extend(samples);
        if !distractor && draw.query_sampling == QuerySampling::Overlapping {
            left.extend(draw_images(shape.query));
        }
    }
    // Unlabelled samples in class order would reveal their classes.
    random.shuffle(&mut unlabeled);
    plan.support.extend(unlabeled);
    plan.query = match draw.query_sampling {
        QuerySampling::Balanced | QuerySampling::Overlapping => left,
        QuerySampling::Random => {
            let count = (shape.way * shape.query) as u32;
            let chosen = random.choose_distinct(left.len() as u32, count);
            chosen.into_iter().map(|at| left[at as usize]).collect()
        }
    };
    plan
}
