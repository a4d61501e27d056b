//! The numbers of a tensor where they lie: 32 bits, on a CPU.
use std::mem::MaybeUninit;

use tch::{Device, Kind, Tensor};

/// The elements of a contiguous tensor, to which nobody may write meanwhile.
pub(crate) fn numbers(tensor: &Tensor) -> &[f32] {
    let fit = tensor.is_contiguous() && tensor.kind() == Kind::Float;
    assert!(fit && tensor.device() == Device::Cpu);
    if tensor.numel() == 0 {
        return &[];
    }
    // SAFETY: that many numbers of this kind lie there for as long as the tensor.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// A tensor of this shape with the elements that `write` appends, in row-major order. Nothing is filled with zeros or
/// copied first, which for large ones costs as much as the work.
pub(crate) fn tensor_of(shape: &[i64], write: impl FnOnce(&mut Elements)) -> Tensor {
    let tensor = Tensor::empty(shape, (Kind::Float, Device::Cpu));
    if tensor.numel() == 0 {
        return tensor;
    }
    // SAFETY: the tensor is new, contiguous and nobody else's, and has room for that many numbers.
    let left = unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) };
    let mut elements = Elements { left };
    write(&mut elements);
    assert!(elements.left.is_empty(), "elements were left out");
    tensor
}

/// Where the elements of a tensor in the making go.
pub(crate) struct Elements<'a> {
    left: &'a mut [MaybeUninit<f32>],
}

impl Elements<'_> {
    /// Appends elements.
    #[inline(always)]
    pub(crate) fn extend_from_slice(&mut self, values: &[f32]) {
        let (here, left) = std::mem::take(&mut self.left).split_at_mut(values.len());
        for (place, &value) in here.iter_mut().zip(values) {
            place.write(value);
        }
        self.left = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_there() {
        let tensor = tensor_of(&[2, 2], |elements| {
            elements.extend_from_slice(&[1.0, 2.0, 3.0]);
            elements.extend_from_slice(&[4.0]);
        });
        let expected = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view([2, 2]);
        assert_eq!(tensor, expected);
        assert_eq!(numbers(&tensor), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn nothing_is_no_number() {
        let tensor = tensor_of(&[0, 3], |_| {});
        assert_eq!(tensor.size(), [0, 3]);
        assert!(numbers(&tensor).is_empty());
    }

    #[test]
    #[should_panic(expected = "left out")]
    fn a_tensor_is_written_whole() {
        let _ = tensor_of(&[2], |elements| elements.extend_from_slice(&[1.0]));
    }
}
