//! Evaluation: accuracy on a fixed list of episodes, with its interval, and what adaptation to the task gains.

pub mod adaptation;
pub mod answers;
pub mod episodes;
pub mod seeds;
pub mod summary;
