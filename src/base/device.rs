//! Copies tensors to a device.

use tch::{Device, Tensor};

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
