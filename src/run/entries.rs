//! Tensors as entries of a checkpoint's safetensors file, and back.

use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tch::{Device, Kind, Tensor};

use crate::model::parameters::{ParameterLayout, ParameterSpec, concatenated};
use crate::run::error::CheckpointError;

/// A tensor in the file.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn named(prefix: &str, layout: &ParameterLayout, flat: &Tensor) -> Vec<Entry> {
    let mut start = 0;
    layout
        .specs()
        .iter()
        .map(|spec| {
            let values = flat.narrow(0, start, spec.len() as i64);
            start += spec.len() as i64;
            let shape = spec.shape.iter().map(|&length| length as usize).collect();
            entry(name_of(prefix, spec), shape, &values)
        })
        .collect()
}

/// Name of a parameter in the file.
pub(crate) fn name_of(prefix: &str, spec: &ParameterSpec) -> String {
    format!("{prefix}.{}", spec.name)
}

pub(crate) fn entry(name: String, shape: Vec<usize>, value: &Tensor) -> Entry {
    let value = value.detach().contiguous().view([-1]);
    let length = value.numel();
    let (dtype, bytes) = if value.kind() == Kind::Int64 {
        let mut numbers = vec![0i64; length];
        value.copy_data(&mut numbers, length);
        (
            Dtype::I64,
            numbers
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect(),
        )
    } else {
        let mut numbers = vec![0f32; length];
        value.to_kind(Kind::Float).copy_data(&mut numbers, length);
        (
            Dtype::F32,
            numbers
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect(),
        )
    };
    Entry {
        name,
        dtype,
        shape,
        bytes,
    }
}

pub(crate) fn tensor(view: &TensorView) -> Tensor {
    let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
    let kind = if view.dtype() == Dtype::I64 {
        Kind::Int64
    } else {
        Kind::Float
    };
    Tensor::from_data_size(view.data(), &shape, kind)
}

pub(crate) fn flat(
    path: &Path,
    file: &SafeTensors,
    prefix: &str,
    layout: &ParameterLayout,
) -> Result<Tensor, CheckpointError> {
    let of = |spec| parameter(path, file, prefix, spec)?.ok_or_else(|| missing(path, prefix, spec));
    let parts: Result<Vec<_>, _> = layout.specs().iter().map(of).collect();
    Ok(concatenated(&parts?, Device::Cpu))
}

/// The values of a parameter, flattened, or `None` if the file lacks it.
pub(crate) fn parameter(
    path: &Path,
    file: &SafeTensors,
    prefix: &str,
    spec: &ParameterSpec,
) -> Result<Option<Tensor>, CheckpointError> {
    let name = name_of(prefix, spec);
    let Ok(view) = file.tensor(&name) else {
        return Ok(None);
    };
    let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
    if shape != spec.shape || view.dtype() != Dtype::F32 {
        let (dtype, expected) = (view.dtype(), &spec.shape);
        return Err(CheckpointError::OtherModel {
            path: path.to_path_buf(),
            tensor: name,
            problem: format!("is {dtype:?} {shape:?}, expected F32 {expected:?}"),
        });
    }
    Ok(Some(tensor(&view).view([-1])))
}

pub(crate) fn missing(path: &Path, prefix: &str, spec: &ParameterSpec) -> CheckpointError {
    CheckpointError::OtherModel {
        path: path.to_path_buf(),
        tensor: name_of(prefix, spec),
        problem: "is missing".to_owned(),
    }
}
