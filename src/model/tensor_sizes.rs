//! Sizes of tensors whose number of axes is known.

use tch::Tensor;

/// The sizes of a tensor that has this many axes.
///
/// # Panics
/// If the tensor has another number of axes, which is an error in this program. The message names the tensor and its
/// shape.
#[track_caller]
pub(crate) fn sizes<const AXES: usize>(tensor: &Tensor, name: &str) -> [i64; AXES] {
    let shape = tensor.size();
    match <[i64; AXES]>::try_from(&shape[..]) {
        Ok(sizes) => sizes,
        Err(_) => panic!("{name} has shape {shape:?}, expected {AXES} axes"),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn sizes_come_in_order() {
        let tensor = Tensor::zeros([2, 3, 5], (Kind::Float, Device::Cpu));
        assert_eq!(sizes(&tensor, "values"), [2, 3, 5]);
    }

    #[test]
    #[should_panic(expected = "labels has shape [2, 3, 5], expected 2 axes")]
    fn a_wrong_number_of_axes_names_the_tensor() {
        let tensor = Tensor::zeros([2, 3, 5], (Kind::Float, Device::Cpu));
        let _: [i64; 2] = sizes(&tensor, "labels");
    }
}
