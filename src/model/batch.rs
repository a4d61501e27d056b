//! T episodes as tensors on one device.
use tch::{Device, Kind, Tensor};

use crate::base::device::sent;
use crate::episode::episode::{Episode, ImageSet};
use crate::pack::pack::Element;

/// T episodes as tensors on one device.
#[derive(Debug)]
pub struct EpisodeBatch {
    /// `[T, N, C, H, W]`, 0 to 1.
    pub support: Tensor,
    /// `[T, N]`; n for an unlabelled sample.
    pub support_labels: Tensor,
    /// `[T, N]`, 0 for a sample that is hidden, 1 for others; none if none is hidden.
    pub support_mask: Option<Tensor>,
    /// `[T, Q, C, H, W]`, 0 to 1.
    pub query: Tensor,
    /// `[T, Q]`
    pub query_labels: Tensor,
}

impl EpisodeBatch {
    /// Episodes of one shape, stacked.
    pub fn new(episodes: &[Episode], device: Device) -> EpisodeBatch {
        let (support, support_labels) = stack(episodes, device, |episode| &episode.support);
        let (query, query_labels) = stack(episodes, device, |episode| &episode.query);
        EpisodeBatch {
            support,
            support_labels,
            support_mask: None,
            query,
            query_labels,
        }
    }

    /// Other handles of the same tensors.
    #[must_use]
    pub fn shallow_clone(&self) -> EpisodeBatch {
        EpisodeBatch {
            support: self.support.shallow_clone(),
            support_labels: self.support_labels.shallow_clone(),
            support_mask: self.support_mask.as_ref().map(Tensor::shallow_clone),
            query: self.query.shallow_clone(),
            query_labels: self.query_labels.shallow_clone(),
        }
    }

    /// A support set, `[N, C, H, W]` and `[N]`, that nobody asks about anything.
    pub fn of_support(pictures: &Tensor, labels: &Tensor) -> EpisodeBatch {
        EpisodeBatch {
            support: pictures.unsqueeze(0),
            support_labels: labels.unsqueeze(0),
            support_mask: None,
            query: pictures.narrow(0, 0, 0).unsqueeze(0),
            query_labels: labels.narrow(0, 0, 0).unsqueeze(0),
        }
    }

    /// Hides the support samples whose element is 0: one list of N for each episode.
    pub fn hide(&mut self, seen: &[Vec<f32>]) {
        let mask = Tensor::from_slice(&seen.concat()).view([seen.len() as i64, -1]);
        self.support_mask = Some(sent(mask, self.support.device()));
    }
}

/// The class of a sample that losses pass over.
pub const PASSED_OVER: i64 = -100;

/// Real classes of the support samples, `[T, N]`; [`PASSED_OVER`] for an unlabelled one.
pub fn real_classes(episodes: &[Episode], device: Device) -> Tensor {
    let of_episode = |episode: &Episode| -> Vec<i64> {
        let known = |label: i64| episode.classes.get(label as usize).copied();
        let class = |&label: &i64| known(label).unwrap_or(PASSED_OVER);
        episode.support.labels.iter().map(class).collect()
    };
    let classes: Vec<i64> = episodes.iter().flat_map(of_episode).collect();
    sent(Tensor::from_slice(&classes), device).view([episodes.len() as i64, -1])
}

fn stack(
    episodes: &[Episode],
    device: Device,
    which: impl Fn(&Episode) -> &ImageSet,
) -> (Tensor, Tensor) {
    let sets: Vec<&ImageSet> = episodes.iter().map(which).collect();
    let labels: Vec<i64> = sets
        .iter()
        .flat_map(|set| set.labels.iter().copied())
        .collect();
    let labels = sent(Tensor::from_slice(&labels), device).view([episodes.len() as i64, -1]);
    (stacked_images(&sets, device), labels)
}

/// `[N, C, H, W]`, 0 to 1; embeddings, `[N, D, 1, 1]`, as they are.
pub fn tensor_of_images(set: &ImageSet, device: Device) -> Tensor {
    stacked_images(&[set], device).squeeze_dim(0)
}

/// Sets of one shape, `[T, N, C, H, W]`: their bytes travel to the device at once, floats are made there.
/// Embeddings, `[T, N, D, 1, 1]`, come as they are.
fn stacked_images(sets: &[&ImageSet], device: Device) -> Tensor {
    let (count, planes, height, width) = sets[0].images.dim();
    let mut bytes = Vec::with_capacity(sets.len() * sets[0].images.len());
    for set in sets {
        let images = set.images.as_standard_layout();
        bytes.extend_from_slice(images.as_slice().expect("the layout is standard"));
    }
    match sets[0].element {
        Element::Byte => {
            tensor_of_bytes(&bytes, [sets.len(), count, planes, height, width], device)
        }
        Element::Float => {
            let shape = [sets.len(), count, planes / 4, height, width].map(|length| length as i64);
            sent(Tensor::from_data_size(&bytes, &shape, Kind::Float), device)
        }
    }
}

/// Pixels of a shape: 0 … 255 → 0 … 1.
pub fn tensor_of_bytes<const AXES: usize>(
    bytes: &[u8],
    shape: [usize; AXES],
    device: Device,
) -> Tensor {
    let shape = shape.map(|length| length as i64);
    let bytes = sent(Tensor::from_slice(bytes), device);
    let mut pixels = bytes.to_kind(Kind::Float).view(&shape[..]);
    pixels.g_div_scalar_(255.0)
}
