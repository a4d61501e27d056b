//! Tasks as channels of one batch: what a GPU is asked once instead of once a task.

use tch::Tensor;

/// `[T·N, C, H, W]` → `[N, T·C, H, W]`
pub(super) fn side_by_side(values: &Tensor, tasks: i64) -> Tensor {
    let (all, channels, height, width) = values.size4().unwrap_or_default();
    values
        .view([tasks, all / tasks, channels, height, width])
        .transpose(0, 1)
        .reshape([all / tasks, tasks * channels, height, width])
}

/// `[N, T·C, H, W]` → `[T·N, C, H, W]`
pub(super) fn one_after_another(values: &Tensor, tasks: i64) -> Tensor {
    let (images, channels, height, width) = values.size4().unwrap_or_default();
    values
        .view([images, tasks, channels / tasks, height, width])
        .transpose(0, 1)
        .reshape([tasks * images, channels / tasks, height, width])
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn each_task_keeps_its_images_and_channels() {
        let values = Tensor::arange(2 * 3 * 5 * 4, (Kind::Float, Device::Cpu)).view([6, 5, 2, 2]);
        let beside = side_by_side(&values, 2);
        assert_eq!(beside.size(), [3, 10, 2, 2]);
        // Image 1 and channel 2 of task 1.
        assert_eq!(beside.get(1).get(7), values.get(4).get(2));
        assert_eq!(one_after_another(&beside, 2), values);
    }
}
