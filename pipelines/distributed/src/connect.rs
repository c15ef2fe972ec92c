//! Connecting the ranks.

use std::sync::Arc;

use nextscale_var_core::collective::Collective;

use crate::error::DistributedError;
use crate::rank::Rank;

/// Connects this process with the others of its run, by MPI.
///
/// # Errors
/// If the build has no MPI, or the processes were not started by it, or one does not come in time.
pub fn connect(rank: &Rank) -> Result<Arc<dyn Collective>, DistributedError> {
    #[cfg(feature = "mpi")]
    return crate::message_passing::connect(rank);
    #[cfg(not(feature = "mpi"))]
    Err(DistributedError::NoMpi { world: rank.world })
}
