//! Episodes as tensors: the input of the model.

use tch::{Device, Kind, Tensor};

use crate::base::device::copy_to_device;
use crate::episode::episode::{Episode, ImageSet};
use crate::pack::shape::Element;

/// T episodes as tensors on one device.
#[derive(Debug)]
pub struct EpisodeBatch {
    /// Support images, `[T, N, C, H, W]`, 0 to 1.
    pub support: Tensor,
    /// Class slots of the support images, `[T, N]`; n for an unlabelled sample.
    pub support_labels: Tensor,
    /// `[T, N]`, 0 for hidden samples, 1 for others; none if no sample is hidden.
    pub support_mask: Option<Tensor>,
    /// Query images, `[T, Q, C, H, W]`, 0 to 1.
    pub query: Tensor,
    /// Class slots of the query images, `[T, Q]`.
    pub query_labels: Tensor,
}

impl EpisodeBatch {
    /// Stacks at least one episode; all must have the same shape.
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

    /// Handles of the same tensors.
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

    /// A batch of one task with a support set, images `[N, C, H, W]` and labels `[N]`, and no queries.
    pub fn without_queries(pictures: &Tensor, labels: &Tensor) -> EpisodeBatch {
        EpisodeBatch {
            support: pictures.unsqueeze(0),
            support_labels: labels.unsqueeze(0),
            support_mask: None,
            query: pictures.narrow(0, 0, 0).unsqueeze(0),
            query_labels: labels.narrow(0, 0, 0).unsqueeze(0),
        }
    }

    /// Hides support samples: `seen` holds for each episode N numbers, 0 for hidden samples and 1 for others.
    pub fn hide(&mut self, seen: &[Vec<f32>]) {
        let mask = Tensor::from_slice(&seen.concat()).view([seen.len() as i64, -1]);
        self.support_mask = Some(copy_to_device(mask, self.support.device()));
    }
}

/// The class of samples that losses ignore.
pub const IGNORED_CLASS: i64 = -100;

/// Real classes of the support samples, `[T, N]`; [`IGNORED_CLASS`] for unlabelled samples.
pub fn real_classes(episodes: &[Episode], device: Device) -> Tensor {
    let of_episode = |episode: &Episode| -> Vec<i64> {
        let known = |label: i64| episode.classes.get(label as usize).copied();
        let class = |&label: &i64| known(label).unwrap_or(IGNORED_CLASS);
        episode.support.labels.iter().map(class).collect()
    };
    let classes: Vec<i64> = episodes.iter().flat_map(of_episode).collect();
    copy_to_device(Tensor::from_slice(&classes), device).view([episodes.len() as i64, -1])
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
    let labels =
        copy_to_device(Tensor::from_slice(&labels), device).view([episodes.len() as i64, -1]);
    (stacked_images(&sets, device), labels)
}

/// The images of a set, `[N, C, H, W]`, scaled to 0 to 1; embeddings, `[N, D, 1, 1]`, unscaled.
pub fn tensor_of_images(set: &ImageSet, device: Device) -> Tensor {
    stacked_images(&[set], device).squeeze_dim(0)
}

/// Stacks the images of sets of one shape, `[T, N, C, H, W]`, scaled to 0 to 1, or embeddings, `[T, N, D, 1, 1]`,
/// unscaled. Bytes are copied to the device in one piece and converted there.
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
            copy_to_device(Tensor::from_data_size(&bytes, &shape, Kind::Float), device)
        }
    }
}

/// Converts bytes, 0 to 255, to a tensor of this shape, 0 to 1.
pub fn tensor_of_bytes<const AXES: usize>(
    bytes: &[u8],
    shape: [usize; AXES],
    device: Device,
) -> Tensor {
    let shape = shape.map(|length| length as i64);
    let bytes = copy_to_device(Tensor::from_slice(bytes), device);
    let mut pixels = bytes.to_kind(Kind::Float).view(&shape[..]);
    pixels.g_div_scalar_(255.0)
}
