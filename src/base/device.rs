//! Copies tensors to a device and back.

use tch::{Device, Kind, Tensor};

/// Copies `host` to `device`. A copy to a GPU goes through pinned memory and is asynchronous.
pub(crate) fn copy_to_device(host: Tensor, device: Device) -> Tensor {
    match device.is_cuda() {
        // `pin_memory` would print a warning, because tch always passes it a device; it calls this operator.
        true => host
            .internal_pin_memory(device)
            .to_device_(device, host.kind(), true, false),
        false => host.to_device(device),
    }
}

/// The elements of a tensor in single precision, the last index fastest.
pub(crate) fn elements(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.detach().to_device(Device::Cpu);
    let tensor = tensor.to_kind(Kind::Float).contiguous();
    let mut values = vec![0.0; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values
}
