//! Prefetches episodes on rayon threads, in order and in bounded memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::episode::episode::Episode;
use crate::episode::sampler::EpisodeSampler;

/// Number of batches that are ready or in progress.
pub const DEPTH: usize = 8;

/// Turns drawn episodes into a batch; runs on the loader's threads.
type MakeBatch<Batch> = Arc<dyn Fn(Vec<Episode>) -> Batch + Send + Sync>;

/// Hands out batches of consecutive episodes in order.
pub struct EpisodeLoader<Batch> {
    sampler: Arc<EpisodeSampler>,
    make_batch: MakeBatch<Batch>,
    pool: Arc<rayon::ThreadPool>,
    pending: VecDeque<Receiver<Batch>>,
    next_episode: u64,
    end_episode: u64,
    batch: u64,
    waited: Duration,
}

impl<Batch: Send + 'static> EpisodeLoader<Batch> {
    /// Starts drawing the episodes with indices `episodes`, in batches of `batch` (the last may be shorter). The
    /// threads of `pool` draw them and apply `make_batch` to each batch. [`Iterator::next`] blocks until a batch is
    /// ready, so it must not be called on a thread of `pool`.
    pub fn new(
        sampler: Arc<EpisodeSampler>,
        episodes: std::ops::Range<u64>,
        batch: usize,
        pool: Arc<rayon::ThreadPool>,
        make_batch: impl Fn(Vec<Episode>) -> Batch + Send + Sync + 'static,
    ) -> EpisodeLoader<Batch> {
        let mut loader = EpisodeLoader {
            sampler,
            make_batch: Arc::new(make_batch),
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
        loader
    }

    fn request(&mut self) {
        if self.next_episode >= self.end_episode {
            return;
        }
        let end = (self.next_episode + self.batch).min(self.end_episode);
        let indices = self.next_episode..end;
        self.next_episode = end;
        let (sender, receiver) = sync_channel(1);
        let (sampler, make_batch) = (Arc::clone(&self.sampler), Arc::clone(&self.make_batch));
        self.pool.spawn(move || {
            let episodes = indices.into_par_iter();
            let episodes = episodes.map(|index| sampler.episode(index)).collect();
            // Sending fails if training stopped early and dropped the receiver; the batch is not needed then.
            let _ = sender.send(make_batch(episodes));
        });
        self.pending.push_back(receiver);
    }

    /// Total time that [`Iterator::next`] has blocked. If the threads that draw also compute, drawing delays the
    /// computation and is not counted here.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<Batch: Send + 'static> Iterator for EpisodeLoader<Batch> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let receiver = self.pending.pop_front()?;
        let start = Instant::now();
        let batch = receiver.recv().ok();
        self.waited += start.elapsed();
        self.request();
        batch
    }
}
