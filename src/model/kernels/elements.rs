//! Direct access to the elements of single-precision CPU tensors.

use std::mem::MaybeUninit;

use tch::{Device, Kind, Tensor};

/// The elements of a contiguous single-precision tensor on the CPU, in row-major order. Nothing may write to the tensor
/// while the slice is borrowed.
///
/// # Panics
/// If the tensor is not contiguous, of another kind, or on another device.
pub(crate) fn elements_of(tensor: &Tensor) -> &[f32] {
    let fits = tensor.is_contiguous() && tensor.kind() == Kind::Float;
    assert!(
        fits && tensor.device() == Device::Cpu,
        "expected a contiguous single-precision tensor on the CPU, found {tensor:?}"
    );
    if tensor.numel() == 0 {
        return &[];
    }
    // SAFETY: the tensor owns that many contiguous `f32` values for as long as it lives.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// A tensor of this shape with the elements that `write` appends in row-major order. The memory is not zeroed and the
/// elements are not copied, which for large tensors would take as long as computing them.
///
/// # Panics
/// If `write` appends fewer or more elements than the shape has.
pub(crate) fn tensor_of(shape: &[i64], write: impl FnOnce(&mut Elements)) -> Tensor {
    let tensor = Tensor::empty(shape, (Kind::Float, Device::Cpu));
    if tensor.numel() == 0 {
        return tensor;
    }
    // SAFETY: the tensor is new, contiguous and not shared, and has room for that many values.
    let remaining =
        unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) };
    let mut elements = Elements { remaining };
    write(&mut elements);
    assert!(
        elements.remaining.is_empty(),
        "{} elements were not written",
        elements.remaining.len()
    );
    tensor
}

/// The elements of a new tensor that are not written yet.
pub(crate) struct Elements<'a> {
    remaining: &'a mut [MaybeUninit<f32>],
}

impl Elements<'_> {
    /// Appends elements.
    #[inline(always)]
    pub(crate) fn extend_from_slice(&mut self, values: &[f32]) {
        let (next, remaining) = std::mem::take(&mut self.remaining).split_at_mut(values.len());
        for (element, &value) in next.iter_mut().zip(values) {
            element.write(value);
        }
        self.remaining = remaining;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_elements_are_read_back() {
        let tensor = tensor_of(&[2, 2], |elements| {
            elements.extend_from_slice(&[1.0, 2.0, 3.0]);
            elements.extend_from_slice(&[4.0]);
        });
        let expected = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view([2, 2]);
        assert_eq!(tensor, expected);
        assert_eq!(elements_of(&tensor), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn an_empty_tensor_has_no_elements() {
        let tensor = tensor_of(&[0, 3], |_| {});
        assert_eq!(tensor.size(), [0, 3]);
        assert!(elements_of(&tensor).is_empty());
    }

    #[test]
    #[should_panic(expected = "1 elements were not written")]
    fn every_element_must_be_written() {
        let _ = tensor_of(&[2], |elements| elements.extend_from_slice(&[1.0]));
    }
}
