//! Prefetch of episodes on rayon threads: in order, ahead of the model, in bounded memory.
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::episode::episode::Episode;
use crate::episode::sampler::EpisodeSampler;

/// Batches kept ready or in the making.
pub const DEPTH: usize = 8;

/// What its threads make of a batch of episodes.
type Make<Batch> = Arc<dyn Fn(Vec<Episode>) -> Batch + Send + Sync>;

/// Hands out batches of consecutive episodes in order.
pub struct EpisodeLoader<Batch> {
    sampler: Arc<EpisodeSampler>,
    make: Make<Batch>,
    pool: Arc<rayon::ThreadPool>,
    pending: VecDeque<Receiver<Batch>>,
    next_episode: u64,
    end_episode: u64,
    batch: u64,
    waited: Duration,
}

impl<Batch: Send + 'static> EpisodeLoader<Batch> {
    /// Episodes `episodes.start … episodes.end` in batches of `batch` (the last may be shorter), each as what `make`
    /// makes of it, drawn by the threads of `pool`. [`Iterator::next`] waits for them, so none of them may call it.
    pub fn new(
        sampler: Arc<EpisodeSampler>,
        episodes: std::ops::Range<u64>,
        batch: usize,
        pool: Arc<rayon::ThreadPool>,
        make: impl Fn(Vec<Episode>) -> Batch + Send + Sync + 'static,
    ) -> EpisodeLoader<Batch> {
        let mut loader = EpisodeLoader {
            sampler,
            make: Arc::new(make),
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
        let (sampler, make) = (Arc::clone(&self.sampler), Arc::clone(&self.make));
        self.pool.spawn(move || {
            let episodes = indices.into_par_iter();
            let episodes = episodes.map(|index| sampler.episode(index)).collect();
            // The other end is gone when training stops early: nobody needs the batch then.
            let _ = sender.send(make(episodes));
        });
        self.pending.push_back(receiver);
    }

    /// Time that [`Iterator::next`] has spent waiting for a batch. Where those who draw also compute, drawing is not in it:
    /// it delays them instead.
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
