//! What can go wrong between ranks.

use nextscale_var_core::collective::CollectiveError;

/// An error of the ranks; each message is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// A variable of the launcher is missing or no number.
    #[error("{launcher} set {present} but {variable} {problem}: {remedy}")]
    Variable {
        /// Who sets it.
        launcher: &'static str,
        /// The variable that says that the launcher started the process.
        present: &'static str,
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The rank is not below the world size.
    #[error(
        "{launcher} says that this is rank {rank} of {world}: ranks count from 0 and end below the number of processes"
    )]
    Range {
        /// Who says it.
        launcher: &'static str,
        /// The rank.
        rank: usize,
        /// The world size.
        world: usize,
    },
    /// The build has no library for the processes to talk.
    #[error(
        "this build has no MPI, which the {world} processes of the run need to talk to each other: build with `--features nextscale/mpi` (for CUDA cards `nextscale/nccl` too), or start one process"
    )]
    NoMpi {
        /// The world size.
        world: usize,
    },
    /// No store is hosted by which processes could find each other.
    #[error(
        "no store is hosted by which the {world} processes could find each other: start them with `torchrun`, or with `mpirun` and a build with MPI"
    )]
    NoStore {
        /// The world size.
        world: usize,
    },
    /// Nothing listens where the store should be.
    #[error(
        "torchrun's store does not answer at {address} within {seconds} s ({reason}): see whether torchrun runs on that machine and the network lets its port through"
    )]
    StoreAway {
        /// Where it should be.
        address: String,
        /// The seconds waited.
        seconds: u64,
        /// Why it cannot be reached.
        reason: String,
    },
    /// Something else listens where the store should be.
    #[error(
        "what answers at {address} is not torchrun's store: another program has the port, so start torchrun with another one"
    )]
    OtherStore {
        /// Where it should be.
        address: String,
    },
    /// The connection with the store is lost.
    #[error(
        "torchrun's store at {address} is gone ({reason}): see whether torchrun still runs on that machine"
    )]
    StoreLost {
        /// Where it was.
        address: String,
        /// Why it cannot be reached any more.
        reason: String,
    },
    /// This machine has no NCCL.
    #[error(
        "there is no NCCL here (libnccl.so.2): install NVIDIA's package libnccl2, or put the folder nvidia/nccl/lib of the Python package nvidia-nccl-cu12 into LD_LIBRARY_PATH"
    )]
    NoNccl,
    /// NCCL is too old.
    #[error("the NCCL of this machine has no {function}: install version 2.18 or later")]
    OldNccl {
        /// What it lacks.
        function: &'static str,
    },
    /// NCCL refused to connect the ranks.
    #[error("rank {rank} cannot be connected: {reason}")]
    Nccl {
        /// The rank that was refused.
        rank: usize,
        /// Why.
        reason: String,
    },
    /// Two ranks have one card.
    #[error(
        "rank {first} and rank {second} both have card {card} of {host}, and NCCL takes one process a card: start no more processes on a machine than it has cards, and name no card in --device"
    )]
    SameCard {
        /// The first rank.
        first: usize,
        /// The second rank.
        second: usize,
        /// The number of the card in the second rank.
        card: String,
        /// The machine.
        host: String,
    },
    /// MPI sees another world than the launcher.
    #[error(
        "{launcher} says {world} processes, but MPI connects {connected}: start them with the `mpirun` or `srun` of the MPI that this program was built with"
    )]
    World {
        /// Who started the processes.
        launcher: &'static str,
        /// The world size of the launcher.
        world: usize,
        /// The world size of MPI.
        connected: usize,
    },
    /// MPI was started before, or cannot be used by several threads.
    #[error("MPI cannot be started: {reason}")]
    Start {
        /// Why.
        reason: &'static str,
    },
    /// Ranks differ in what must be the same.
    #[error(
        "{what} differs: rank 0 has {first}, rank {rank} has {other}; start all processes with the same program, files and options"
    )]
    Disagree {
        /// What differs.
        what: String,
        /// Its value on rank 0.
        first: String,
        /// The first rank that differs.
        rank: usize,
        /// Its value there.
        other: String,
    },
    /// A rank did not come.
    #[error(
        "rank {ranks} did not come within {seconds} s: see whether the process runs, or set NEXTSCALE_RANK_TIMEOUT to more seconds"
    )]
    Missing {
        /// The ranks, separated by commas.
        ranks: String,
        /// The seconds waited.
        seconds: u64,
    },
    /// The processes cannot talk any more.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
}
