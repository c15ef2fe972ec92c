//! Runs on several ranks, which are threads here.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use super::*;
use crate::collective::{Collective, CollectiveError};
use crate::train::{Ranks, TrainError};

#[derive(Debug)]
struct Shared {
    barrier: Barrier,
    slots: Mutex<Vec<Vec<u8>>>,
}

/// A rank that is a thread.
#[derive(Debug)]
struct Thread {
    rank: usize,
    world: usize,
    shared: Arc<Shared>,
}

impl Thread {
    fn numbers(&self, x: Tensor<1>) -> Result<Vec<Vec<f32>>, CollectiveError> {
        let own = x.into_data();
        let all = self.exchange(own.as_bytes())?;
        let read = |bytes: &Vec<u8>| {
            let (chunks, _) = bytes.as_chunks::<4>();
            chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        Ok(all.iter().map(read).collect())
    }
}

fn tensor(numbers: Vec<f32>) -> Tensor<1> {
    let count = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [count]), &Device::flex())
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.shared.barrier.wait();
        Ok(())
    }

    fn exchange(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.shared.slots.lock().unwrap()[self.rank] = own.to_vec();
        self.shared.barrier.wait();
        let all = self.shared.slots.lock().unwrap().clone();
        self.shared.barrier.wait();
        Ok(all)
    }

    fn broadcast(&self, x: Tensor<1>, from: usize) -> Result<Tensor<1>, CollectiveError> {
        Ok(tensor(self.numbers(x)?.swap_remove(from)))
    }

    fn all_reduce(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let mut all = self.numbers(x)?.into_iter();
        let mut sums = all.next().unwrap();
        for other in all {
            assert_eq!(other.len(), sums.len());
            sums.iter_mut().zip(other).for_each(|(a, b)| *a += b);
        }
        Ok(tensor(sums))
    }

    fn all_gather(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        Ok(tensor(self.numbers(x)?.concat()))
    }

    fn all_to_all(&self, x: Tensor<1>) -> Result<Tensor<1>, CollectiveError> {
        let part = x.dims()[0] / self.world;
        let own = |all: Vec<f32>| all[self.rank * part..][..part].to_vec();
        Ok(tensor(self.numbers(x)?.into_iter().flat_map(own).collect()))
    }

    fn abort(&self, _: i32) -> ! {
        panic!("rank {} ends the run", self.rank)
    }
}

/// Runs `work` on ranks.
fn on_ranks<R: Send>(world: usize, work: impl Fn(Ranks) -> R + Sync) -> Vec<R> {
    let shared = Arc::new(Shared {
        barrier: Barrier::new(world),
        slots: Mutex::new(vec![Vec::new(); world]),
    });
    thread::scope(|scope| {
        let start = |rank| {
            let shared = Arc::clone(&shared);
            let thread: Arc<dyn Collective> = Arc::new(Thread {
                rank,
                world,
                shared,
            });
            let work = &work;
            scope.spawn(move || work(thread.into()))
        };
        let threads: Vec<_> = (0..world).map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// Trains with four batches a step.
fn train_on(run: &Path, steps: u64, options: TrainOptions, ranks: Ranks) -> (Vec<f64>, Vec<f32>) {
    let device = Device::flex().autodiff();
    let budget = Budget::Steps(steps);
    let options = TrainOptions { budget, ..options };
    let task = Regression::new(&device);
    let mut trainer = Trainer::on_ranks(task, toy(&device), options, run, ranks).unwrap();
    let mut losses = Vec::new();
    let stop = AtomicBool::new(false);
    let outcome = trainer.run(SOUND, &stop, &mut |seen| {
        if let Observed::Line(line) = seen {
            losses.push(line.loss);
        }
    });
    assert_eq!(outcome.unwrap(), Outcome::Finished);
    let weights = trainer.average().first.weight.val().into_data();
    (losses, weights.iter().collect())
}

fn four() -> TrainOptions {
    TrainOptions {
        accumulate: 4,
        ..options(20)
    }
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    pairs.fold(0.0, f32::max)
}

#[test]
fn a_step_is_the_same_on_any_number_of_ranks() {
    let alone = folder("ranks-1");
    let (losses, weights) = train_on(&alone, 20, four(), Ranks::default());
    assert_eq!(losses.len(), 20);
    for world in [2, 4] {
        let run = folder(&format!("ranks-{world}"));
        let all = on_ranks(world, |ranks| train_on(&run, 20, four(), ranks));
        for (rank, (own, others)) in all.iter().enumerate() {
            // The first alone writes the log.
            assert_eq!(own.len(), if rank == 0 { 20 } else { 0 });
            assert_eq!(others, &all[0].1, "rank {rank} of {world}");
        }
        assert!(far(&all[0].1, &weights) <= 1e-6);
        let pairs = all[0].0.iter().zip(&losses);
        pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}"));
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let whole = folder("ranks-whole");
    let (losses, weights) = train_on(&whole, 20, four(), Ranks::default());
    let run = folder("ranks-changed");
    // A constant rate, since a budget of ten steps has another curve.
    let (first, _) = on_ranks(4, |ranks| train_on(&run, 10, constant(), ranks)).remove(0);
    let (second, ended) = on_ranks(2, |ranks| train_on(&run, 20, constant(), ranks)).remove(0);
    let same = folder("ranks-constant");
    let (expected, expected_weights) = train_on(&same, 20, constant(), Ranks::default());
    let all: Vec<f64> = first.into_iter().chain(second).collect();
    assert_eq!(all.len(), 20);
    let pairs = all.iter().zip(&expected);
    pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}"));
    assert!(far(&ended, &expected_weights) <= 1e-6);
    assert!(far(&ended, &weights) > 1e-4, "{losses:?}");
}

fn constant() -> TrainOptions {
    let options = four();
    TrainOptions {
        learning_rate: LearningRate {
            decay: Decay::Constant,
            ..options.learning_rate
        },
        ..options
    }
}

#[test]
fn a_step_that_cannot_be_shared_is_refused() {
    let run = folder("ranks-share");
    let errors = on_ranks(3, |ranks| {
        let device = Device::flex().autodiff();
        let task = Regression::new(&device);
        let started = Trainer::on_ranks(task, toy(&device), four(), &run, ranks);
        started.err().unwrap()
    });
    for error in errors {
        assert_eq!(
            error.to_string(),
            "a step has 4 batches (`parallel` times `accumulate`), which 3 processes cannot share evenly: make it a multiple of 3"
        );
    }
}

/// Ranks whose folders are not the same.
#[test]
fn ranks_at_different_steps_are_refused() {
    let runs = [folder("ranks-here"), folder("ranks-there")];
    train_on(&runs[0], 3, four(), Ranks::default());
    let errors = on_ranks(2, |ranks| {
        let device = Device::flex().autodiff();
        let task = Regression::new(&device);
        let run = &runs[ranks.rank()];
        let started = Trainer::on_ranks(task, toy(&device), four(), run, ranks);
        started.err().unwrap()
    });
    for error in errors {
        assert!(
            matches!(
                error,
                TrainError::Step {
                    rank: 1,
                    step: 0,
                    first: 3
                }
            ),
            "{error}"
        );
    }
}

/// Moments in shards are those of one piece, and other ranks go on with them.
#[test]
fn moments_are_shared_between_ranks() {
    let sharded = || TrainOptions {
        shard_optimizer: true,
        ..constant()
    };
    let whole = folder("shards-none");
    let (expected, weights) = train_on(&whole, 20, constant(), Ranks::default());
    let run = folder("shards-changed");
    let (first, _) = on_ranks(4, |ranks| train_on(&run, 10, sharded(), ranks)).remove(0);
    let files = |run: &Path| {
        let checkpoint = latest(run).unwrap().unwrap();
        let entries = fs::read_dir(checkpoint.path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("optimizer")).count()
    };
    assert_eq!(files(&run), 64);
    let all = on_ranks(2, |ranks| train_on(&run, 20, sharded(), ranks));
    assert_eq!(all[0].1, all[1].1);
    assert!(far(&all[0].1, &weights) <= 1e-6);
    let losses: Vec<f64> = first.into_iter().chain(all[0].0.iter().copied()).collect();
    assert_eq!(losses.len(), 20);
    let pairs = losses.iter().zip(&expected);
    pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}"));

    // One process goes on with all shards, but not with moments in one piece.
    train_on(&run, 25, sharded(), Ranks::default());
    let device = Device::flex().autodiff();
    let task = || Regression::new(&device);
    let error = Trainer::resume_or_start(task(), toy(&device), constant(), &run)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("the run was begun with `shard_optimizer`"),
        "{error}"
    );
    let error = Trainer::resume_or_start(task(), toy(&device), sharded(), &whole)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("begun without `shard_optimizer`"),
        "{error}"
    );
}

/// Of four batches one stops the run.
#[test]
fn any_rank_can_stop_the_run() {
    let run = folder("ranks-stop");
    let steps = on_ranks(2, |ranks| {
        let device = Device::flex().autodiff();
        let task = Regression::new(&device);
        let stop = AtomicBool::new(ranks.rank() == 1);
        let mut trainer = Trainer::on_ranks(task, toy(&device), four(), &run, ranks).unwrap();
        let outcome = trainer.run(SOUND, &stop, &mut |_| {}).unwrap();
        (outcome, trainer.progress().step)
    });
    assert_eq!(steps, [(Outcome::Stopped, 0); 2]);
}
