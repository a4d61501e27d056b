//! The allocator of the program and of its benchmarks.

/// A tenth less time an episode than glibc's, which gives freed tensors back to the kernel and faults them in again.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads at its start: large tensors are kept like small ones, freed memory for a minute, in huge pages.
/// Faulting pages in anew took a third of an episode of 84×84 images. With one core it would take one arena, whose pages
/// stay small: 64 channels took 1.6 times as long.
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8; 104] =
    b"oversize_threshold:0,dirty_decay_ms:60000,muzzy_decay_ms:60000,metadata_thp:auto,thp:always,narenas:128\0";
