//! MPI, between processes that this test starts.

use std::process::Command;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use nextscale_distributed::{Rank, connect};

use crate::every::every;

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
        .args([
            "--exact",
            &format!("mpi::{name}"),
            "--ignored",
            "--nocapture",
        ])
        .env("NEXTSCALE_RANK_TIMEOUT", "2")
        .output()
        .expect("mpirun is installed");
    let told = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&told).into_owned(),
    )
}

#[test]
#[ignore = "a process of the tests below"]
fn one_of_all() {
    let rank = Rank::from_environment()
        .unwrap()
        .expect("started by mpirun");
    let ranks = connect(&rank, &Device::flex()).unwrap();
    every(ranks.as_ref(), &rank, &Device::flex());
    println!("rank {} of {} is done", rank.rank, rank.world);
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
    let error = connect(&rank, &Device::flex()).unwrap_err();
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
    let ranks = connect(&rank, &Device::flex()).unwrap();
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
