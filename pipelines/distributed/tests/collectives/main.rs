//! The collectives, between processes.

#![cfg(any(feature = "mpi", feature = "nccl"))]

mod every;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
