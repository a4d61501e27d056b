//! Tensors on their way to a device.
use tch::{Device, Tensor};

/// On the device; to a GPU from pinned memory, and nobody waits for the copy.
pub(crate) fn sent(host: Tensor, device: Device) -> Tensor {
    match device.is_cuda() {
        // The operator below `pin_memory`, which warns of the device that tch cannot but name.
        true => host
            .internal_pin_memory(device)
            .to_device_(device, host.kind(), true, false),
        false => host.to_device(device),
    }
}
