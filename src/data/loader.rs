//! Prefetch of episodes on rayon threads: in order, ahead of the model, in bounded memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use super::episode::{Episode, EpisodeSampler};

/// Batches kept ready or in the making.
const DEPTH: usize = 8;

/// Hands out batches of consecutive episodes in order.
pub struct EpisodeLoader {
    sampler: Arc<EpisodeSampler>,
    pool: rayon::ThreadPool,
    pending: VecDeque<Receiver<Vec<Episode>>>,
    next_episode: u64,
    end_episode: u64,
    batch: u64,
    waited: Duration,
}

impl EpisodeLoader {
    /// Episodes `episodes.start … episodes.end` in batches of `batch` (the last may be shorter).
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn new(
        sampler: Arc<EpisodeSampler>,
        episodes: std::ops::Range<u64>,
        batch: usize,
        threads: usize,
    ) -> Result<EpisodeLoader, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("loader-{index}"))
            .build()?;
        let mut loader = EpisodeLoader {
            sampler,
            pool,
            pending: VecDeque::with_capacity(DEPTH),
            next_episode: episodes.start,
            end_episode: episodes.end,
            batch: batch.max(1) as u64,
            waited: Duration::ZERO,
        };
        for _ in 0..DEPTH {
            loader.request();
        }
        Ok(loader)
    }

    fn request(&mut self) {
        if self.next_episode >= self.end_episode {
            return;
        }
        let end = (self.next_episode + self.batch).min(self.end_episode);
        let indices = self.next_episode..end;
        self.next_episode = end;
        let (sender, receiver) = sync_channel(1);
        let sampler = Arc::clone(&self.sampler);
        self.pool.spawn(move || {
            // The other end is gone when training stops early: nobody needs the batch then.
            let _ = sender.send(indices.map(|index| sampler.episode(index)).collect());
        });
        self.pending.push_back(receiver);
    }

    /// Time that [`Iterator::next`] has spent waiting for a batch.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Iterator for EpisodeLoader {
    type Item = Vec<Episode>;

    fn next(&mut self) -> Option<Vec<Episode>> {
        let receiver = self.pending.pop_front()?;
        let start = Instant::now();
        let batch = receiver.recv().ok();
        self.waited += start.elapsed();
        self.request();
        batch
    }
}
