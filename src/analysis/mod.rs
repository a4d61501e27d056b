//! What data look like, what a trained model does inside, and what its CNN could do at best: for figures, not for
//! training.

pub mod attention;
pub mod canvas;
pub mod contact_sheet;
pub mod heatmap;
pub mod oracle;
