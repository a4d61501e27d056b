//! Draws pictures: contact sheets, heat maps and kernels.

pub mod canvas;
pub mod contact_sheet;
pub mod heatmap;
pub(crate) mod kernels;
