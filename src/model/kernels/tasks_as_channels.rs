//! Computing several tasks in one call of libtorch by moving the task axis into the channels.

use tch::Tensor;

use crate::model::tensor_sizes::sizes;

/// Elements per task up to which one call for all tasks is faster on a CPU in spite of two copies: 1.2 to 3 times for
/// 3×3 convolutions of 3×3 and 7×7 activations.
const SMALL: i64 = 1 << 15;

/// Whether one call for all tasks' `values`, `[T·N, C, H, W]`, is faster than one call per task: always on a GPU.
pub(crate) fn one_call_is_faster(values: &Tensor, tasks: i64) -> bool {
    tasks > 1 && (values.device().is_cuda() || values.numel() as i64 / tasks <= SMALL)
}

/// `[T·N, C, H, W]` → `[N, T·C, H, W]`. On a CPU the result, and the gradient of the input, has channels-last memory
/// layout.
pub(crate) fn tasks_to_channels(values: &Tensor, tasks: i64) -> Tensor {
    let [all_images, channels, height, width] = sizes(values, "activations of all tasks");
    let (images, all_channels) = (all_images / tasks, tasks * channels);
    match values.device().is_cuda() {
        true => values
            .view([tasks, images, channels, height, width])
            .transpose(0, 1)
            .reshape([images, all_channels, height, width]),
        false => values
            .permute([0, 2, 3, 1])
            .reshape([tasks, images, height, width, channels])
            .permute([1, 2, 3, 0, 4])
            .reshape([images, height, width, all_channels])
            .permute([0, 3, 1, 2]),
    }
}

/// `[N, T·C, H, W]` → `[T·N, C, H, W]`. On a CPU the result, and the gradient of the input, has channels-last memory
/// layout.
pub(crate) fn channels_to_tasks(values: &Tensor, tasks: i64) -> Tensor {
    let [images, all_channels, height, width] = sizes(values, "activations with tasks as channels");
    let (all_images, channels) = (tasks * images, all_channels / tasks);
    match values.device().is_cuda() {
        true => values
            .view([images, tasks, channels, height, width])
            .transpose(0, 1)
            .reshape([all_images, channels, height, width]),
        false => values
            .permute([0, 2, 3, 1])
            .reshape([images, height, width, tasks, channels])
            .permute([3, 0, 1, 2, 4])
            .reshape([all_images, height, width, channels])
            .permute([0, 3, 1, 2]),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn each_task_keeps_its_images_and_channels() {
        let values = Tensor::arange(2 * 3 * 5 * 4, (Kind::Float, Device::Cpu)).view([6, 5, 2, 2]);
        let as_channels = tasks_to_channels(&values, 2);
        assert_eq!(as_channels.size(), [3, 10, 2, 2]);
        // Image 1 and channel 2 of task 1.
        assert_eq!(as_channels.get(1).get(7), values.get(4).get(2));
        assert_eq!(channels_to_tasks(&as_channels, 2), values);
    }

    /// Another memory layout makes batch normalisation and convolutions several times slower.
    #[test]
    fn on_a_cpu_memory_is_channels_last_forward_and_backward() {
        let options = (Kind::Float, Device::Cpu);
        let values = Tensor::randn([6, 2, 3, 3], options).set_requires_grad(true);
        let channels_last = |tensor: &Tensor| tensor.permute([0, 2, 3, 1]).is_contiguous();
        let as_channels = tasks_to_channels(&values, 2);
        let restored = channels_to_tasks(&as_channels, 2);
        assert!(channels_last(&as_channels) && channels_last(&restored));
        let loss = (&restored * restored.detach()).sum(Kind::Float);
        let gradients = Tensor::run_backward(&[&loss], &[&values, &as_channels], false, false);
        assert!(gradients.iter().all(channels_last));
    }
}
