//! What the processes of one run tell each other.
//!
//! The operations are those of MPI and NCCL. All ranks call the same operations in the same order; each waits for the others.

use std::fmt::Debug;
use std::sync::Arc;

use burn::tensor::Tensor;

/// The processes of a run cannot talk any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rank {rank} cannot talk to the others: {reason}")]
pub struct CollectiveError {
    /// The rank that noticed it.
    pub rank: usize,
    /// Why.
    pub reason: String,
}

/// The connected processes of a run. Tensors have f32 numbers, lie on the device of their process, and have no gradient.
pub trait Collective: Send + Sync + Debug {
    /// The number of this process, in `0..world`.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn world(&self) -> usize;

    /// Waits until all ranks are here.
    ///
    /// # Errors
    /// If the connection is lost.
    fn barrier(&self) -> Result<(), CollectiveError>;

    /// The bytes of every rank, in the order of the ranks. They may differ in length.
    ///
    /// # Errors
    /// As for [`barrier`](Self::barrier).
    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError>;

    /// The numbers of the rank `from`; `x` has the same length everywhere.
    ///
    /// # Errors
    /// As for [`barrier`](Self::barrier).
    fn broadcast(&self, x: Tensor<1>, from: usize) -> Result<Tensor<1>, CollectiveError>;

    /// The sums over all ranks, with the same bits on each of them.
    ///
    /// # Errors
    /// As for [`barrier`](Self::barrier).
    fn all_reduce(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError>;

    /// The numbers of all ranks, one rank after the other; `x` has the same length everywhere.
    ///
    /// # Errors
    /// As for [`barrier`](Self::barrier).
    fn all_gather(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError>;

    /// Part `i` of `x` goes to rank `i`; the result is the part from each rank, in their order. All parts are equally long.
    ///
    /// # Errors
    /// As for [`barrier`](Self::barrier).
    fn all_to_all(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError>;

    /// The ranks that give the same `group`, in the order that they have here. All call it.
    ///
    /// # Errors
    /// As for [`barrier`](Self::barrier).
    fn split(&self, group: usize) -> Result<Arc<dyn Collective>, CollectiveError>;

    /// Ends the processes of all ranks, this one with `code`.
    fn abort(&self, code: i32) -> !;
}
