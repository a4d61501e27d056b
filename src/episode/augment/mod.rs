//! Augments the images of a support or query set while they are copied from the pack into an episode.

mod affine;
mod colors;

use crate::base::random::Random;
use crate::episode::augment::affine::Affine;
use crate::episode::augment::colors::Colors;
use crate::episode::episode::EpisodeDraw;
use crate::pack::pixels::channels_first;
use crate::pack::shape::{Element, ImageShape};
use crate::settings::augmentation::ColorDraw;

/// Augments the images of one set in turn.
pub(crate) struct Augmenter<'a> {
    draw: &'a EpisodeDraw,
    shape: ImageShape,
    random: &'a mut Random,
    /// Colour change shared by all images; `None` if each image draws its own.
    colors: Option<Colors>,
    /// Buffer for an image with changed colours.
    recolored: Vec<u8>,
}

impl<'a> Augmenter<'a> {
    /// `random` is the generator of this set; `episode_random` starts from the same state for all sets of an episode.
    pub(crate) fn new(
        draw: &'a EpisodeDraw,
        shape: ImageShape,
        random: &'a mut Random,
        episode_random: &mut Random,
    ) -> Augmenter<'a> {
        let colors = draw.photo.and_then(|photo| match photo.colors {
            ColorDraw::ImageSet => Some(Colors::draw(&photo, random)),
            ColorDraw::Episode => Some(Colors::draw(&photo, episode_random)),
            ColorDraw::Image => None,
        });
        Augmenter {
            draw,
            shape,
            random,
            colors,
            recolored: Vec::new(),
        }
    }

    /// Rotates `source`, `[H, W, C]`, by `angle` degrees, augments it, and writes it to `target`, `[C, H, W]`.
    /// Embeddings are copied unchanged.
    pub(crate) fn image(&mut self, source: &[u8], angle: f32, target: &mut [u8]) {
        if self.shape.element == Element::Float {
            target.copy_from_slice(source);
            return;
        }
        let mut map = Affine::IDENTITY;
        if angle != 0.0 {
            map = Affine::turn(angle);
        }
        if !self.draw.jitter.is_none() {
            map = Affine::draw(&self.draw.jitter, self.shape, self.random).after(map);
        }
        let Some(photo) = &self.draw.photo else {
            return write(source, self.shape, map, target);
        };
        if photo.flip && self.random.below(2) == 1 {
            map = Affine::mirror().after(map);
        }
        let colors = match self.colors {
            Some(colors) => colors,
            None => Colors::draw(photo, self.random),
        };
        if photo.crop < 1.0 {
            map = Affine::draw_crop(photo.crop, self.shape, self.random).after(map);
        }
        self.recolored.clear();
        self.recolored.extend_from_slice(source);
        colors.apply(&mut self.recolored, self.shape.channels);
        write(&self.recolored, self.shape, map, target);
    }
}

fn write(source: &[u8], shape: ImageShape, map: Affine, target: &mut [u8]) {
    if map == Affine::IDENTITY {
        channels_first(source, shape, target);
    } else {
        map.apply(source, shape, target);
    }
}
