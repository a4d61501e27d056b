//! Analyses for figures: attention inside a trained model, and an upper bound on the accuracy of its CNN.

pub mod attention;
pub mod oracle;
