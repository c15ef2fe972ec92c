//! Under torchrun itself.

use std::process::Command;

use nextscale_distributed::{Rank, Store};

#[test]
#[ignore = "a process of the test below"]
fn one_of_torchrun() {
    let rank = Rank::from_environment()
        .unwrap()
        .expect("started by torchrun");
    let mut store = Store::of_torchrun(&rank).unwrap();
    let own = format!("rank {}", rank.rank);
    let all = store.exchange(&rank, "names", own.as_bytes()).unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|name| String::from_utf8_lossy(name))
        .collect();
    let attempt = std::env::var("TORCHELASTIC_RESTART_COUNT").unwrap();
    // The first attempt fails, and the second one finds none of its keys.
    let alone = store.add("attempts", 1).unwrap();
    assert!((1..=2).contains(&alone), "{alone}");
    println!("{own} of attempt {attempt} sees {}", all.join(", "));
    if std::env::var_os("FAIL_ONCE").is_some() && attempt == "0" {
        std::process::exit(1);
    }
}

/// Each of torchrun's ways to meet; the last one starts the processes twice.
#[test]
fn processes_of_torchrun_find_each_other() {
    let Some(torchrun) = std::env::var_os("NEXTSCALE_TORCHRUN") else {
        eprintln!("NEXTSCALE_TORCHRUN does not name torchrun: not tried");
        return;
    };
    let port = 20_000 + std::process::id() % 20_000;
    let endpoint = format!("--rdzv-endpoint=127.0.0.1:{port}");
    let master = format!("--master-port={}", port + 1);
    let ways: [&[&str]; 4] = [
        &["--standalone"],
        &["--rdzv-backend=c10d", &endpoint, "--rdzv-id=one"],
        &["--rdzv-backend=static", "--master-addr=127.0.0.1", &master],
        &["--standalone", "--max-restarts=1"],
    ];
    for way in ways {
        let mut command = Command::new(&torchrun);
        command
            .args(["--no-python", "--nproc-per-node=2"])
            .args(way)
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "torchrun::one_of_torchrun",
                "--ignored",
                "--nocapture",
            ]);
        let twice = way.contains(&"--max-restarts=1");
        if twice {
            command.env("FAIL_ONCE", "1");
        }
        let output = command.output().expect("torchrun starts");
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{way:?}: {told}");
        for attempt in 0..=usize::from(twice) {
            for rank in 0..2 {
                let line = format!("rank {rank} of attempt {attempt} sees rank 0, rank 1");
                assert!(told.contains(&line), "{way:?}: {told}");
            }
        }
    }
}
