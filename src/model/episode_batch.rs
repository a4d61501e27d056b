//! T episodes as tensors on one device.

use tch::{Device, Kind, Tensor};

use crate::data::episode::{Episode, ImageSet};
use crate::data::pack::Element;

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
        let rows: Vec<Tensor> = seen.iter().map(|row| Tensor::from_slice(row)).collect();
        let device = self.support.device();
        self.support_mask = Some(Tensor::stack(&rows, 0).to_device(device));
    }
}

/// Real classes of the support samples, `[T, N]`; -100, which losses pass over, for an unlabelled one.
pub fn real_classes(episodes: &[Episode], device: Device) -> Tensor {
    let of_episode = |episode: &Episode| {
        let class = |&label: &i64| episode.classes.get(label as usize).copied().unwrap_or(-100);
        let classes: Vec<i64> = episode.support.labels.iter().map(class).collect();
        Tensor::from_slice(&classes).to_device(device)
    };
    Tensor::stack(&episodes.iter().map(of_episode).collect::<Vec<_>>(), 0)
}

fn stack(
    episodes: &[Episode],
    device: Device,
    which: impl Fn(&Episode) -> &ImageSet,
) -> (Tensor, Tensor) {
    let sets = || episodes.iter().map(&which);
    let images: Vec<Tensor> = sets().map(|set| tensor_of_images(set, device)).collect();
    let labels: Vec<Tensor> = sets()
        .map(|set| Tensor::from_slice(&set.labels).to_device(device))
        .collect();
    (Tensor::stack(&images, 0), Tensor::stack(&labels, 0))
}

/// `[N, C, H, W]`: bytes travel to the device, floats are made there. Embeddings, `[N, D, 1, 1]`, come
/// as they are.
pub fn tensor_of_images(set: &ImageSet, device: Device) -> Tensor {
    let images = set.images.as_standard_layout();
    let bytes = images.as_slice().expect("the layout is standard");
    let (count, planes, height, width) = images.dim();
    match set.element {
        Element::Byte => tensor_of_bytes(bytes, [count, planes, height, width], device),
        Element::Float => {
            let shape = [count, planes / 4, height, width].map(|length| length as i64);
            Tensor::from_data_size(bytes, &shape, Kind::Float).to_device(device)
        }
    }
}

/// Pixels of a shape: 0 … 255 → 0 … 1.
pub fn tensor_of_bytes(bytes: &[u8], shape: [usize; 4], device: Device) -> Tensor {
    let shape = shape.map(|length| length as i64);
    let numbers = Tensor::from_slice(bytes).to_device(device);
    numbers.to_kind(Kind::Float).view(&shape[..]) / 255.0
}
