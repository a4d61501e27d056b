//! Process-wide settings that must take effect before libtorch is first called: the allocator and MKL's instruction
//! set.

mod allocator;
mod mkl;
