//! Choices for the whole process that must be made before libtorch is first called.

mod allocator;
mod mkl;
