//! The processes of one run: one for each device, on one machine or several.
//!
//! Launchers start them: `torchrun`, `srun`, `mpirun`, an indexed Kubernetes job. Each tells its processes their place in
//! environment variables, which [`Rank::from_environment`] reads. What the processes tell each other goes through an established
//! library behind the trait [`Collective`](nextscale_var_core::collective::Collective): NCCL between CUDA cards, and MPI ([`connect`]).
//!
//! Words are those of PyTorch: the *rank* is the number of a process among all, from 0; the *world size* is how many there are; the
//! *local rank* is the number among those on the same machine.

mod agreement;
mod connect;
mod error;
#[cfg(feature = "mpi")]
mod message_passing;
#[cfg(feature = "nccl")]
mod nccl;
mod rank;
mod store;
mod timeout;

pub use agreement::{Fact, agree};
pub use connect::connect;
pub use error::DistributedError;
pub use rank::{Launcher, Rank};
pub use store::Store;
