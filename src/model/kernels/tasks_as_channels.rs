//! Tasks as channels of one batch: what libtorch is asked once instead of once a task.
use tch::Tensor;

/// Numbers of a task up to which one call for all tasks is faster on a CPU, in spite of two copies: 1.2 to 3 times for
/// 3×3 convolutions of 3×3 and 7×7 places.
const SMALL: i64 = 1 << 15;

/// Whether one call for all tasks' `values`, `[T·N, C, H, W]`, is faster than one for each: always on a GPU.
pub(crate) fn faster_together(values: &Tensor, tasks: i64) -> bool {
    tasks > 1 && (values.device().is_cuda() || values.numel() as i64 / tasks <= SMALL)
}

/// `[T·N, C, H, W]` → `[N, T·C, H, W]`; on a CPU channels are innermost in memory, in the gradient too.
pub(crate) fn side_by_side(values: &Tensor, tasks: i64) -> Tensor {
    let (all, channels, height, width) = values.size4().unwrap_or_default();
    let (images, together) = (all / tasks, tasks * channels);
    match values.device().is_cuda() {
        true => values
            .view([tasks, images, channels, height, width])
            .transpose(0, 1)
            .reshape([images, together, height, width]),
        false => values
            .permute([0, 2, 3, 1])
            .reshape([tasks, images, height, width, channels])
            .permute([1, 2, 3, 0, 4])
            .reshape([images, height, width, together])
            .permute([0, 3, 1, 2]),
    }
}

/// `[N, T·C, H, W]` → `[T·N, C, H, W]`; on a CPU channels are innermost in memory, in the gradient too.
pub(crate) fn one_after_another(values: &Tensor, tasks: i64) -> Tensor {
    let (images, together, height, width) = values.size4().unwrap_or_default();
    let (all, channels) = (tasks * images, together / tasks);
    match values.device().is_cuda() {
        true => values
            .view([images, tasks, channels, height, width])
            .transpose(0, 1)
            .reshape([all, channels, height, width]),
        false => values
            .permute([0, 2, 3, 1])
            .reshape([images, height, width, tasks, channels])
            .permute([3, 0, 1, 2, 4])
            .reshape([all, height, width, channels])
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
        let beside = side_by_side(&values, 2);
        assert_eq!(beside.size(), [3, 10, 2, 2]);
        // Image 1 and channel 2 of task 1.
        assert_eq!(beside.get(1).get(7), values.get(4).get(2));
        assert_eq!(one_after_another(&beside, 2), values);
    }

    /// Another layout costs batch-norm and convolutions several times their time.
    #[test]
    fn on_a_cpu_channels_are_innermost_forward_and_backward() {
        let options = (Kind::Float, Device::Cpu);
        let values = Tensor::randn([6, 2, 3, 3], options).set_requires_grad(true);
        let innermost = |tensor: &Tensor| tensor.permute([0, 2, 3, 1]).is_contiguous();
        let beside = side_by_side(&values, 2);
        let apart = one_after_another(&beside, 2);
        assert!(innermost(&beside) && innermost(&apart));
        let loss = (&apart * apart.detach()).sum(Kind::Float);
        let gradients = Tensor::run_backward(&[&loss], &[&values, &beside], false, false);
        assert!(gradients.iter().all(innermost));
    }
}
