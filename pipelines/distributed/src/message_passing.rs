//! MPI between processes on CPUs. Tensors of other devices go through the memory of the host.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::*;
use nextscale_var_core::collective::{Collective, CollectiveError};

use crate::error::DistributedError;
use crate::rank::Rank;
use crate::timeout;

/// Numbers of one call: MPI counts in 32 bits.
const MOST: usize = 1 << 28;
/// What a rank sends to the first when it comes.
const HERE: i32 = 1;
/// What the first answers when all are here.
const ALL_HERE: i32 = 2;

/// The world of MPI.
struct Mpi {
    world: SimpleCommunicator,
    rank: usize,
    ranks: usize,
    /// Ends MPI when it is dropped, so it goes last.
    universe: Arc<Universe>,
}

// SAFETY: MPI was started for calls from several threads.
unsafe impl Send for Mpi {}
unsafe impl Sync for Mpi {}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MPI, rank {} of {}", self.rank, self.ranks)
    }
}

pub(crate) fn connect(rank: &Rank) -> Result<Arc<dyn Collective>, DistributedError> {
    let started = mpi::initialize_with_threading(Threading::Multiple);
    let (universe, threads) = started.ok_or(DistributedError::Start {
        reason: "it was started before in this process",
    })?;
    if threads < Threading::Serialized {
        return Err(DistributedError::Start {
            reason: "it was built without support for threads",
        });
    }
    let world = universe.world();
    let found = Mpi {
        rank: count(world.rank()),
        ranks: count(world.size()),
        world,
        universe: Arc::new(universe),
    };
    if found.ranks != rank.world {
        return Err(DistributedError::World {
            launcher: rank.launcher.name(),
            world: rank.world,
            connected: found.ranks,
        });
    }
    found.gather(timeout::of_first())?;
    Ok(Arc::new(found))
}

impl Mpi {
    /// Waits until every rank is here, but not forever.
    fn gather(&self, limit: Duration) -> Result<(), DistributedError> {
        let missing = |ranks: String| DistributedError::Missing {
            ranks,
            seconds: limit.as_secs(),
        };
        let first = self.world.process_at_rank(0);
        let started = Instant::now();
        if self.rank > 0 {
            first.send_with_tag(&[0u8], HERE);
            while first.immediate_probe_with_tag(ALL_HERE).is_none() {
                if started.elapsed() > timeout::of_others(limit) {
                    return Err(missing("0".to_owned()));
                }
                sleep(Duration::from_millis(2));
            }
            first.receive_with_tag::<u8>(ALL_HERE);
            return Ok(());
        }
        let mut absent: Vec<i32> = (1..self.world.size()).collect();
        while !absent.is_empty() {
            absent.retain(|&rank| {
                let other = self.world.process_at_rank(rank);
                let came = other.immediate_probe_with_tag(HERE).is_some();
                if came {
                    other.receive_with_tag::<u8>(HERE);
                }
                !came
            });
            if started.elapsed() > limit {
                let ranks: Vec<String> = absent.iter().map(i32::to_string).collect();
                return Err(missing(ranks.join(", ")));
            }
            sleep(Duration::from_millis(2));
        }
        for rank in 1..self.world.size() {
            self.world
                .process_at_rank(rank)
                .send_with_tag(&[0u8], ALL_HERE);
        }
        Ok(())
    }

    fn numbers(&self, x: Tensor<1>) -> Result<(Vec<f32>, Device), CollectiveError> {
        let device = x.device();
        let numbers = x.into_data().try_into_vec::<f32>();
        let numbers = numbers.map_err(|error| CollectiveError {
            rank: self.rank,
            reason: format!("{error:?}"),
        })?;
        Ok((numbers, device))
    }
}

impl Drop for Mpi {
    /// Ends the others with a process that panics: they would wait for it for ever, and MPI's own end waits for them.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort(101);
        }
    }
}

/// A number of MPI, which is never negative.
fn count(n: i32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn tensor(numbers: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.ranks
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.world.barrier();
        Ok(())
    }

    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let length = i32::try_from(own.len()).map_err(|_| CollectiveError {
            rank: self.rank,
            reason: "a message has more than 2 GiB".to_owned(),
        })?;
        let mut lengths = vec![0i32; self.ranks];
        self.world.all_gather_into(&length, &mut lengths);
        let starts: Vec<i32> = lengths
            .iter()
            .scan(0, |end, length| {
                *end += length;
                Some(*end - length)
            })
            .collect();
        let sizes: Vec<usize> = lengths
            .iter()
            .map(|&n| usize::try_from(n).unwrap_or(0))
            .collect();
        let total = sizes.iter().sum();
        if total == 0 {
            return Ok(vec![Vec::new(); self.ranks]);
        }
        // The pointer of an empty slice may be the number that MPI takes for `MPI_IN_PLACE`.
        let own = if own.is_empty() { &[0u8][..0] } else { own };
        let mut all = vec![0u8; total];
        let mut parts = PartitionMut::new(&mut all[..], lengths, &starts[..]);
        self.world.all_gather_varcount_into(own, &mut parts);
        let mut rest = &all[..];
        let take = |size: usize| {
            let (part, after) = rest.split_at(size);
            rest = after;
            part.to_vec()
        };
        Ok(sizes.into_iter().map(take).collect())
    }

    fn broadcast(&self, x: Tensor<1>, from: usize) -> Result<Tensor<1>, CollectiveError> {
        let (mut numbers, device) = self.numbers(x)?;
        let root = self
            .world
            .process_at_rank(i32::try_from(from).unwrap_or(i32::MAX));
        for part in numbers.chunks_mut(MOST) {
            root.broadcast_into(part);
        }
        Ok(tensor(numbers, &device))
    }

    fn all_reduce(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let (numbers, device) = self.numbers(x)?;
        let mut sums = vec![0.0; numbers.len()];
        for (from, to) in numbers.chunks(MOST).zip(sums.chunks_mut(MOST)) {
            self.world.all_reduce_into(from, to, SystemOperation::sum());
        }
        Ok(tensor(sums, &device))
    }

    fn all_gather(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let (numbers, device) = self.numbers(x)?;
        let mut all = vec![0.0; numbers.len() * self.ranks];
        if numbers.len() <= MOST {
            self.world.all_gather_into(&numbers[..], &mut all[..]);
        } else {
            let mut gathered = vec![0.0; MOST * self.ranks];
            let whole = numbers.len();
            for (index, part) in numbers.chunks(MOST).enumerate() {
                let gathered = &mut gathered[..part.len() * self.ranks];
                self.world.all_gather_into(part, gathered);
                for (rank, from) in gathered.chunks_exact(part.len()).enumerate() {
                    all[rank * whole + index * MOST..][..part.len()].copy_from_slice(from);
                }
            }
        }
        Ok(tensor(all, &device))
    }

    fn all_to_all(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let (numbers, device) = self.numbers(x)?;
        if !numbers.len().is_multiple_of(self.ranks) || numbers.len() > MOST {
            return Err(CollectiveError {
                rank: self.rank,
                reason: format!(
                    "{} numbers cannot be sent in {} equal parts",
                    numbers.len(),
                    self.ranks
                ),
            });
        }
        let mut received = vec![0.0; numbers.len()];
        self.world.all_to_all_into(&numbers[..], &mut received[..]);
        Ok(tensor(received, &device))
    }

    fn split(&self, group: usize) -> Result<Arc<dyn Collective>, CollectiveError> {
        let color = i32::try_from(group).map(Color::with_value);
        let world = color
            .ok()
            .and_then(|color| self.world.split_by_color(color));
        let world = world.ok_or_else(|| CollectiveError {
            rank: self.rank,
            reason: format!("MPI makes no group {group}"),
        })?;
        Ok(Arc::new(Self {
            rank: count(world.rank()),
            ranks: count(world.size()),
            world,
            universe: Arc::clone(&self.universe),
        }))
    }

    fn abort(&self, code: i32) -> ! {
        self.world.abort(code)
    }
}
