//! Draws pictures: contact sheets and heat maps.

pub mod canvas;
pub mod contact_sheet;
pub mod heatmap;
