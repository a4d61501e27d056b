//! What a trained model does inside: for figures, not for training.

pub mod attention;
pub mod heatmap;
pub mod oracle;
