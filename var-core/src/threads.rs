//! Ranks that are threads of one process: for tests, and for programs that drive several devices themselves.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};

use crate::collective::{Collective, CollectiveError};

/// How long a rank waits for the others.
const PATIENCE: Duration = Duration::from_secs(600);

/// Ranks for `world` threads.
///
/// A thread that never calls what the others call is noticed after ten minutes.
pub fn connect(world: usize) -> Vec<Arc<dyn Collective>> {
    let shared = Shared::new(world);
    let rank = |rank| -> Arc<dyn Collective> {
        Arc::new(Thread {
            rank,
            world,
            shared: Arc::clone(&shared),
        })
    };
    (0..world).map(rank).collect()
}

/// How many threads have come to a meeting, and how many meetings there were.
#[derive(Debug, Default)]
struct Meeting {
    here: usize,
    number: u64,
}

#[derive(Debug)]
struct Shared {
    meeting: Mutex<Meeting>,
    complete: Condvar,
    slots: Mutex<Vec<Vec<u8>>>,
    /// What the members of new groups share, by group.
    groups: Mutex<HashMap<usize, Arc<Shared>>>,
}

impl Shared {
    fn new(world: usize) -> Arc<Self> {
        Arc::new(Self {
            meeting: Mutex::default(),
            complete: Condvar::new(),
            slots: Mutex::new(vec![Vec::new(); world]),
            groups: Mutex::default(),
        })
    }
}

/// A rank that is a thread.
#[derive(Debug)]
struct Thread {
    rank: usize,
    world: usize,
    shared: Arc<Shared>,
}

impl Thread {
    fn groups(&self) -> MutexGuard<'_, HashMap<usize, Arc<Shared>>> {
        lock(&self.shared.groups)
    }

    fn numbers(&self, x: Tensor<1>) -> Result<(Vec<Vec<f32>>, Device), CollectiveError> {
        let (own, device) = (x.clone().into_data(), x.device());
        let all = self.exchange(own.as_bytes())?;
        let read = |bytes: &Vec<u8>| {
            let (chunks, _) = bytes.as_chunks::<4>();
            chunks.iter().map(|b| f32::from_ne_bytes(*b)).collect()
        };
        Ok((all.iter().map(read).collect(), device))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tensor(numbers: Vec<f32>, device: &Device) -> Tensor<1> {
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), device)
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        let shared = &self.shared;
        let mut meeting = shared
            .meeting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let number = meeting.number;
        meeting.here += 1;
        if meeting.here == self.world {
            *meeting = Meeting {
                here: 0,
                number: number + 1,
            };
            shared.complete.notify_all();
            return Ok(());
        }
        let waits = |meeting: &mut Meeting| meeting.number == number;
        let waited = shared.complete.wait_timeout_while(meeting, PATIENCE, waits);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            return Err(CollectiveError {
                rank: self.rank,
                reason: "a thread does not come".to_owned(),
            });
        }
        Ok(())
    }

    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let slots = || {
            self.shared
                .slots
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        slots()[self.rank] = own.to_vec();
        self.barrier()?;
        let all = slots().clone();
        self.barrier()?;
        Ok(all)
    }

    fn broadcast(&self, x: Tensor<1>, from: usize) -> Result<Tensor<1>, CollectiveError> {
        let (mut all, device) = self.numbers(x)?;
        Ok(tensor(all.swap_remove(from), &device))
    }

    fn all_reduce(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let (all, device) = self.numbers(x)?;
        let add = |mut sums: Vec<f32>, other: Vec<f32>| {
            assert_eq!(other.len(), sums.len(), "numbers of two ranks");
            sums.iter_mut().zip(other).for_each(|(a, b)| *a += b);
            sums
        };
        Ok(tensor(
            all.into_iter().reduce(add).unwrap_or_default(),
            &device,
        ))
    }

    fn all_gather(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let (all, device) = self.numbers(x)?;
        Ok(tensor(all.concat(), &device))
    }

    fn all_to_all(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let part = x.dims()[0] / self.world;
        let (all, device) = self.numbers(x)?;
        let own = |all: Vec<f32>| all[self.rank * part..][..part].to_vec();
        Ok(tensor(all.into_iter().flat_map(own).collect(), &device))
    }

    fn split(&self, group: usize) -> Result<Arc<dyn Collective>, CollectiveError> {
        let groups = self.exchange(&group.to_ne_bytes())?;
        let same = |bytes: &Vec<u8>| **bytes == group.to_ne_bytes();
        let members: Vec<usize> = (0..self.world).filter(|&i| same(&groups[i])).collect();
        // The first of a group makes what they share.
        if members[0] == self.rank {
            let shared = Shared::new(members.len());
            self.groups().insert(group, shared);
        }
        self.barrier()?;
        let shared = Arc::clone(&self.groups()[&group]);
        self.barrier()?;
        self.groups().remove(&group);
        let own = members.iter().position(|&rank| rank == self.rank);
        Ok(Arc::new(Self {
            rank: own.unwrap_or(0),
            world: members.len(),
            shared,
        }))
    }

    fn abort(&self, _: i32) -> ! {
        panic!("rank {} ends the run", self.rank)
    }
}
