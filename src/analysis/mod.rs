//! Analyses: attention inside a trained model, an upper bound on the accuracy of its CNN, and tables of many runs.

pub mod attention;
pub mod measured;
pub mod oracle;
pub mod paper;
pub mod results;
pub mod training_log;
