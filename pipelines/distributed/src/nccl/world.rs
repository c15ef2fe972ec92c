//! NCCL as the connection of a run.

use std::ffi::c_int;
use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use cudarc::driver::sys::CUstream;
use cudarc::nccl::sys::ncclComm_t;
use nextscale_tokenizer::graphs;
use nextscale_var_core::collective::{Collective, CollectiveError};

use crate::nccl::card::Numbers;
use crate::nccl::library::{F32, Library, SUM};
use crate::nccl::line::Line;

/// The processes that NCCL connects.
pub(super) struct World {
    pub(super) rank: usize,
    pub(super) world: usize,
    pub(super) line: Line,
    /// How MPI ends all processes, if it started them. It goes last.
    pub(super) mpi: Option<Arc<dyn Collective>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NCCL, rank {} of {}", self.rank, self.world)
    }
}

impl World {
    fn error(&self, reason: String) -> CollectiveError {
        CollectiveError {
            rank: self.rank,
            reason,
        }
    }

    /// The result of an operation that reads `x` and writes `count` numbers.
    fn collect(
        &self,
        x: Tensor<1>,
        count: usize,
        start: impl FnOnce(&Numbers, &Numbers, &Library, ncclComm_t, CUstream) -> c_int,
    ) -> Result<Tensor<1>, CollectiveError> {
        let home = x.device();
        let _card = graphs::shared();
        let collect = || {
            self.line.enter()?;
            let from = Numbers::of(x.to_device(self.line.device()))?;
            let result = Tensor::<1>::empty([count], (self.line.device(), DType::F32));
            let to = Numbers::of(result.clone())?;
            // All that this thread asked of the card, the room for the result too.
            from.wait()?;
            self.line
                .work(|nccl, communicator, stream| start(&from, &to, nccl, communicator, stream))?;
            Ok(result)
        };
        let result = collect().map_err(|reason| self.error(reason))?;
        Ok(result.to_device(&home))
    }

    /// The ranks with the same `group`.
    fn part(&self, group: usize) -> Result<Self, String> {
        self.line.enter()?;
        let groups = self.line.messages(&group.to_ne_bytes())?;
        let same = |bytes: &&Vec<u8>| ***bytes == group.to_ne_bytes();
        let world = groups.iter().filter(same).count();
        Ok(Self {
            rank: groups[..self.rank].iter().filter(same).count(),
            world,
            line: self.line.split(group, self.rank, world)?,
            mpi: self.mpi.clone(),
        })
    }
}

impl Collective for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.exchange(&[]).map(drop)
    }

    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let _card = graphs::shared();
        let entered = self.line.enter();
        let messages = entered.and_then(|()| self.line.messages(own));
        messages.map_err(|reason| self.error(reason))
    }

    fn broadcast(&self, x: Tensor<1>, from: usize) -> Result<Tensor<1>, CollectiveError> {
        let count = x.dims()[0];
        let root = c_int::try_from(from).unwrap_or(c_int::MAX);
        // SAFETY: both have `count` numbers and stay until the work is done; so below.
        self.collect(x, count, |from, to, nccl, communicator, stream| unsafe {
            let (from, to) = (from.at(0), to.at(0));
            (nccl.broadcast)(from, to, count, F32, root, communicator, stream)
        })
    }

    fn all_reduce(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let count = x.dims()[0];
        self.collect(x, count, |from, to, nccl, communicator, stream| unsafe {
            let (from, to) = (from.at(0), to.at(0));
            (nccl.all_reduce)(from, to, count, F32, SUM, communicator, stream)
        })
    }

    fn all_gather(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let count = x.dims()[0];
        let all = count * self.world;
        self.collect(x, all, |from, to, nccl, communicator, stream| unsafe {
            (nccl.all_gather)(from.at(0), to.at(0), count, F32, communicator, stream)
        })
    }

    fn all_to_all(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let (count, world) = (x.dims()[0], self.world);
        if !count.is_multiple_of(world) {
            let reason = format!("{count} numbers cannot be sent in {world} equal parts");
            return Err(self.error(reason));
        }
        let part = count / world;
        self.collect(x, count, |from, to, nccl, communicator, stream| unsafe {
            let started = (nccl.group_start)();
            let transfer = |rank| {
                let other = c_int::try_from(rank).unwrap_or(c_int::MAX);
                let [from, to] = [from.at(rank * part), to.at(rank * part)];
                let sent = (nccl.send)(from, part, F32, other, communicator, stream);
                let received = (nccl.receive)(to, part, F32, other, communicator, stream);
                first_error([sent, received])
            };
            let transferred = first_error((0..world).map(transfer));
            // A group that was begun has to be ended.
            first_error([started, transferred, (nccl.group_end)()])
        })
    }

    fn split(&self, group: usize) -> Result<Arc<dyn Collective>, CollectiveError> {
        let _card = graphs::shared();
        let part = self.part(group).map_err(|reason| self.error(reason))?;
        Ok(Arc::new(part))
    }

    /// MPI ends the others, or the launcher, which sees this process end.
    fn abort(&self, code: i32) -> ! {
        match &self.mpi {
            Some(mpi) => mpi.abort(code),
            None => std::process::exit(code),
        }
    }
}

/// The first code that is none of success, or that of success.
fn first_error(codes: impl IntoIterator<Item = c_int>) -> c_int {
    codes.into_iter().find(|&code| code != 0).unwrap_or(0)
}
