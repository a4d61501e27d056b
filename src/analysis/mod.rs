//! What a trained model does inside, and what its CNN could do at best: for figures, not for training.

pub mod attention;
pub mod oracle;
