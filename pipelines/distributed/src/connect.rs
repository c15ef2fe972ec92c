//! Connecting the ranks.

use std::sync::Arc;

use burn::tensor::Device;
use nextscale_var_core::collective::Collective;

use crate::error::DistributedError;
use crate::rank::Rank;

/// Connects this process, whose tensors lie on `device`, with the others of its run. On CUDA cards that is by NCCL, if the build has it:
/// the processes find each other by MPI if it started them, and by the store of torchrun otherwise ([`Store`](crate::Store)). On all else
/// it is by MPI, and tensors go through the memory of the host.
///
/// # Errors
/// If the build has nothing by which the processes can talk, or the launcher has not prepared it, or one does not come in time, or two
/// have one card.
pub fn connect(rank: &Rank, device: &Device) -> Result<Arc<dyn Collective>, DistributedError> {
    #[cfg(feature = "nccl")]
    if nextscale_tokenizer::cpu::is_cuda(&device.clone().without_autodiff()) {
        return by_nccl(rank, device);
    }
    by_mpi(rank, device)
}

#[cfg(feature = "mpi")]
fn by_mpi(rank: &Rank, _: &Device) -> Result<Arc<dyn Collective>, DistributedError> {
    crate::message_passing::connect(rank)
}

#[cfg(not(feature = "mpi"))]
fn by_mpi(rank: &Rank, _: &Device) -> Result<Arc<dyn Collective>, DistributedError> {
    Err(DistributedError::NoMpi { world: rank.world })
}

#[cfg(feature = "nccl")]
fn by_nccl(rank: &Rank, device: &Device) -> Result<Arc<dyn Collective>, DistributedError> {
    use crate::nccl;
    use crate::rank::Launcher;
    use crate::store::Store;

    if rank.launcher == Launcher::Torchrun {
        let mut store = Store::of_torchrun(rank)?;
        return nccl::connect(rank, device, None, &mut |name, own| {
            store.exchange(rank, name, own)
        });
    }
    let mpi = by_mpi(rank, device)?;
    let ranks = Arc::clone(&mpi);
    nccl::connect(rank, device, Some(mpi), &mut |_, own| {
        Ok(ranks.exchange(own)?)
    })
}
