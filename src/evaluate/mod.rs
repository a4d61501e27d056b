//! Evaluation: a fixed list of episodes, their accuracies, the mean and its interval.

pub mod adaptation;
pub mod answers;
pub mod episodes;
pub mod summary;
