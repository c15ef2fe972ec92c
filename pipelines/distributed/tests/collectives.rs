//! The collectives of MPI, between processes that this test starts.

#![cfg(feature = "mpi")]

use std::process::Command;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use nextscale_distributed::{Fact, Rank, agree, connect};

/// Runs the test `name` of this file on `count` processes.
fn on_ranks(count: usize, name: &str) -> (bool, String) {
    let output = Command::new("mpirun")
        .args([
            "--allow-run-as-root",
            "--oversubscribe",
            "-n",
            &count.to_string(),
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("NEXTSCALE_RANK_TIMEOUT", "2")
        .output()
        .expect("mpirun is installed");
    let told = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&told).into_owned(),
    )
}

fn tensor(numbers: impl IntoIterator<Item = f32>) -> Tensor<1> {
    let numbers: Vec<f32> = numbers.into_iter().collect();
    Tensor::from_data(numbers.as_slice(), &Device::flex())
}

fn numbers(x: Tensor<1>) -> Vec<f32> {
    x.into_data().iter().collect()
}

#[test]
#[ignore = "a process of the tests below"]
fn one_of_all() {
    let rank = Rank::from_environment()
        .unwrap()
        .expect("started by mpirun");
    let ranks = connect(&rank).unwrap();
    let (own, world) = (ranks.rank(), ranks.world());
    assert_eq!((own, world), (rank.rank, rank.world));
    let n = own as f32;
    let last = (world - 1) as f32;

    let sum = ranks.all_reduce(tensor([n, 1.0])).unwrap();
    assert_eq!(numbers(sum), [last * world as f32 / 2.0, world as f32]);
    let sent = ranks.broadcast(tensor([n, -n]), world - 1).unwrap();
    assert_eq!(numbers(sent), [last, -last]);
    let all = ranks.all_gather(tensor([n, n + 0.5])).unwrap();
    let expected: Vec<f32> = (0..world)
        .flat_map(|i| [i as f32, i as f32 + 0.5])
        .collect();
    assert_eq!(numbers(all), expected);
    // To rank `i` the number `10 own + i`.
    let sent = (0..world).map(|i| 10.0 * n + i as f32);
    let received = ranks.all_to_all(tensor(sent)).unwrap();
    let expected: Vec<f32> = (0..world).map(|i| 10.0 * i as f32 + n).collect();
    assert_eq!(numbers(received), expected);
    let uneven = ranks.all_to_all(tensor(vec![0.0; world + 1])).unwrap_err();
    assert!(uneven.to_string().contains("equal parts"), "{uneven}");

    // Messages of different lengths, empty ones too.
    let all = ranks.exchange(&vec![7; own]).unwrap();
    assert!(
        all.iter()
            .enumerate()
            .all(|(i, bytes)| *bytes == vec![7; i])
    );
    assert!(ranks.exchange(&[]).unwrap().iter().all(Vec::is_empty));
    ranks.barrier().unwrap();

    let fact = |value: usize| {
        [
            Fact::new("the version", "1"),
            Fact::new("the size", value.to_string()),
        ]
    };
    agree(ranks.as_ref(), &fact(3)).unwrap();
    let differs = agree(ranks.as_ref(), &fact(own)).unwrap_err();
    assert_eq!(
        differs.to_string(),
        "the size differs: rank 0 has 0, rank 1 has 1; start all processes with the same program, files and options"
    );
    println!("rank {own} of {world} is done");
}

#[test]
fn every_collective_on_two_and_four_ranks() {
    for count in [2, 4] {
        let (success, told) = on_ranks(count, "one_of_all");
        assert!(success, "{told}");
        let done = (0..count).all(|rank| told.contains(&format!("rank {rank} of {count} is done")));
        assert!(done, "{told}");
    }
}

#[test]
#[ignore = "a process of the test below"]
fn one_that_waits() {
    let rank = Rank::from_environment()
        .unwrap()
        .expect("started by mpirun");
    if rank.rank == 1 {
        // It comes to MPI, but not to the run.
        let universe = mpi::initialize();
        std::thread::sleep(Duration::from_secs(6));
        drop(universe);
        return;
    }
    let error = connect(&rank).unwrap_err();
    println!("{error}");
    std::process::exit(3);
}

#[test]
fn a_rank_that_does_not_come_is_named() {
    let (success, told) = on_ranks(2, "one_that_waits");
    assert!(!success, "{told}");
    let expected = "rank 1 did not come within 2 s: see whether the process runs, or set NEXTSCALE_RANK_TIMEOUT to more seconds";
    assert!(told.contains(expected), "{told}");
}

#[test]
#[ignore = "a process of the test below"]
fn one_that_panics() {
    let rank = Rank::from_environment()
        .unwrap()
        .expect("started by mpirun");
    let ranks = connect(&rank).unwrap();
    assert!(ranks.rank() != 1, "rank 1 is broken");
    ranks.barrier().unwrap();
}

/// The other one does not wait for ever.
#[test]
fn a_rank_that_panics_ends_all() {
    let started = Instant::now();
    let (success, told) = on_ranks(2, "one_that_panics");
    assert!(!success, "{told}");
    assert!(told.contains("rank 1 is broken"), "{told}");
    assert!(started.elapsed() < Duration::from_secs(30), "{told}");
}
