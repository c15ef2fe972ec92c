//! The line to the other ranks: the communicator of NCCL and the card on which it works.

use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;
use cudarc::driver::sys::CUstream;
use cudarc::nccl::sys::{ncclComm_t, ncclUniqueId};

use crate::nccl::card::{Card, Memory};
use crate::nccl::library::{BYTE, Library};

/// Bytes of a message that all send in the first round: its length, and what fits after that.
const ROW: usize = 256;
/// Those of the length.
const HEAD: usize = 8;

/// A communicator. One operation after the other uses it.
pub(super) struct Line {
    library: &'static Library,
    world: usize,
    joined: Mutex<Joined>,
    card: Card,
}

struct Joined {
    communicator: ncclComm_t,
    /// For messages: those of this process, and those of all.
    own: Memory,
    all: Memory,
}

// SAFETY: NCCL takes calls from any thread, one at a time.
unsafe impl Send for Joined {}

impl Line {
    /// Joins `world` processes, of which this is number `rank`, under the number that the first has made.
    pub(super) fn join(
        library: &'static Library,
        card: Card,
        id: [u8; 128],
        [rank, world]: [usize; 2],
    ) -> Result<Self, String> {
        card.enter()?;
        let id = ncclUniqueId {
            internal: id.map(|byte| byte as _),
        };
        let number =
            |n: usize| c_int::try_from(n).map_err(|_| format!("{n} processes are too many"));
        let (own, all) = (number(rank)?, number(world)?);
        let mut communicator: ncclComm_t = std::ptr::null_mut();
        // SAFETY: it writes the communicator.
        let code = unsafe { (library.init_rank)(&mut communicator, all, id, own) };
        library.check(code, std::ptr::null_mut())?;
        Self::new(library, card, communicator, world)
    }

    fn new(
        library: &'static Library,
        card: Card,
        communicator: ncclComm_t,
        world: usize,
    ) -> Result<Self, String> {
        card.enter()?;
        let joined = Joined {
            communicator,
            own: Memory::take(ROW)?,
            all: Memory::take(ROW * world)?,
        };
        Ok(Self {
            library,
            world,
            joined: Mutex::new(joined),
            card,
        })
    }

    /// Where tensors have to lie.
    pub(super) fn device(&self) -> &Device {
        &self.card.device
    }

    /// Makes the card that of the calling thread, as everything that follows needs it.
    pub(super) fn enter(&self) -> Result<(), String> {
        self.card.enter()
    }

    /// Gives work to NCCL and waits until it is done, or another rank is gone.
    pub(super) fn work(
        &self,
        start: impl FnOnce(&Library, ncclComm_t, CUstream) -> c_int,
    ) -> Result<(), String> {
        let joined = self.lock();
        self.work_on(joined.communicator, start)
    }

    fn lock(&self) -> MutexGuard<'_, Joined> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_on(
        &self,
        communicator: ncclComm_t,
        start: impl FnOnce(&Library, ncclComm_t, CUstream) -> c_int,
    ) -> Result<(), String> {
        let code = start(self.library, communicator, self.card.stream());
        self.library.check(code, communicator)?;
        while !self.card.is_done()? {
            let mut code = 0;
            // SAFETY: the communicator is destroyed with this.
            let asked = unsafe { (self.library.async_error)(communicator, &mut code) };
            self.library.check(asked, communicator)?;
            self.library.check(code, communicator)?;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// The bytes of every rank. A short message goes with its length; if one is longer, all go again in rows of the longest.
    pub(super) fn messages(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut joined = self.lock();
        let mut row = own.to_vec();
        row.resize(own.len().max(ROW - HEAD), 0);
        let head = (own.len() as u64).to_ne_bytes();
        let first = [&head[..], &row[..ROW - HEAD]].concat();
        let first = self.gather(&mut joined, &first)?;
        let heads = first.chunks_exact(ROW).map(|row| {
            let length = row
                .first_chunk()
                .map_or(0, |head| u64::from_ne_bytes(*head));
            usize::try_from(length).unwrap_or(usize::MAX)
        });
        let lengths: Vec<usize> = heads.collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if longest <= ROW - HEAD {
            let rows = first.chunks_exact(ROW).zip(lengths);
            return Ok(rows.map(|(row, n)| row[HEAD..][..n].to_vec()).collect());
        }
        row.resize(longest, 0);
        let all = self.gather(&mut joined, &row)?;
        let rows = all.chunks_exact(longest).zip(lengths);
        Ok(rows.map(|(row, n)| row[..n].to_vec()).collect())
    }

    /// As many bytes of every rank as `own` has, one rank after the other.
    fn gather(&self, joined: &mut Joined, own: &[u8]) -> Result<Vec<u8>, String> {
        if own.len() > joined.own.bytes() {
            joined.own = Memory::take(own.len())?;
            joined.all = Memory::take(own.len() * self.world)?;
        }
        let mut all = vec![0; own.len() * self.world];
        self.card.upload(own, &joined.own)?;
        let [from, to] = [joined.own.address(), joined.all.address()];
        let communicator = joined.communicator;
        // SAFETY: both are large enough and stay until the work is done.
        self.work_on(communicator, |nccl, communicator, stream| unsafe {
            (nccl.all_gather)(from, to, own.len(), BYTE, communicator, stream)
        })?;
        self.card.download(&mut all, &joined.all)?;
        self.work_on(communicator, |_, _, _| 0)?;
        Ok(all)
    }

    /// The line between those that give the same `group`, of which there are `world`, in the order of `rank`.
    pub(super) fn split(&self, group: usize, rank: usize, world: usize) -> Result<Self, String> {
        let number = |n: usize| c_int::try_from(n).map_err(|_| format!("NCCL makes no group {n}"));
        let (colour, order) = (number(group)?, number(rank)?);
        let joined = self.lock();
        let mut part: ncclComm_t = std::ptr::null_mut();
        let as_the_whole = std::ptr::null_mut();
        // SAFETY: it writes the communicator.
        let code = unsafe {
            (self.library.split)(joined.communicator, colour, order, &mut part, as_the_whole)
        };
        self.library.check(code, joined.communicator)?;
        drop(joined);
        Self::new(self.library, self.card.again()?, part, world)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.card.enter();
        let communicator = self.lock().communicator;
        // Others may wait in an operation that this process never comes to.
        let end = if std::thread::panicking() {
            self.library.abort
        } else {
            self.library.destroy
        };
        // SAFETY: it is not used again.
        let _ = unsafe { end(communicator) };
    }
}
