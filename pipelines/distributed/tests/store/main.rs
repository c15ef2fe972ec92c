//! The client of torchrun's store: against what PyTorch's own client and servers said to each other, against a small server that
//! speaks the same protocol and, where `NEXTSCALE_TORCHRUN` names it, under torchrun.

mod server;
mod torchrun;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use nextscale_distributed::{DistributedError, Launcher, Rank, Store};

use self::server::{memory, script};

const SOON: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

fn rank(rank: usize, world: usize) -> Rank {
    Rank {
        rank,
        world,
        local_rank: rank,
        local_world: None,
        launcher: Launcher::Torchrun,
    }
}

fn told<T>(result: Result<T, DistributedError>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    }
}

/// What the client of PyTorch 2.15 sent and what its server answered, the one with libuv and the other one alike, on a machine that
/// begins numbers with their lowest byte.
#[cfg(target_endian = "little")]
#[test]
fn questions_are_those_of_pytorch() {
    let address = script(&[
        // Validation is the same; PyTorch's client goes on with a question that older servers do not know.
        (
            b"\x00\xce\xf7\x85<\x04\x0a\0\0\0\0\0\0\0/a/clients\x01\0\0\0\0\0\0\0",
            b"\x01\0\0\0\0\0\0\0",
        ),
        (
            b"\x01\x06\0\0\0\0\0\0\0/a/key\x05\0\0\0\0\0\0\0value\x06\x01\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0/a/key",
            b"\0",
        ),
        (b"\x03\x06\0\0\0\0\0\0\0/a/key", b"\x05\0\0\0\0\0\0\0value"),
        (
            b"\x04\x04\0\0\0\0\0\0\0/a/n\x03\0\0\0\0\0\0\0",
            b"\x03\0\0\0\0\0\0\0",
        ),
        (
            b"\x04\x04\0\0\0\0\0\0\0/a/n\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x02\0\0\0\0\0\0\0",
        ),
        (b"\x05\x01\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0/a/key", b"\0"),
        (b"\x05\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0/a/none", b"\x01"),
        (
            b"\x06\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0/a/none\x0c",
            b"\x01",
        ),
    ]);
    let mut store = Store::connect(&address, "/a/", SOON).unwrap();
    store.set("key", b"value").unwrap();
    assert_eq!(store.get("key", SOON).unwrap().unwrap(), b"value");
    assert_eq!(store.add("n", 3).unwrap(), 3);
    assert_eq!(store.add("n", -1).unwrap(), 2);
    assert!(store.has("key").unwrap());
    assert!(!store.has("none").unwrap());
    let none = store.get("none", Duration::from_millis(100)).unwrap();
    assert_eq!(none, None);
    // The script is over and the server gone.
    let gone = told(store.has("key"));
    let expected = format!("torchrun's store at {address} is gone (");
    assert!(gone.starts_with(&expected), "{gone}");
}

#[test]
fn every_rank_gets_the_bytes_of_all() {
    let address = memory();
    let all = thread::scope(|scope| {
        let one = |own: usize| {
            let address = &address;
            scope.spawn(move || {
                let mut store = Store::connect(address, "run/0/", SOON).unwrap();
                let first = store.exchange(&rank(own, 3), "first", &vec![7; own]);
                let second = store.exchange(&rank(own, 3), "second", &[own as u8]);
                (first.unwrap(), second.unwrap())
            })
        };
        let threads: Vec<_> = (0..3).map(one).collect();
        threads
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect::<Vec<_>>()
    });
    let expected = (
        vec![vec![], vec![7], vec![7, 7]],
        vec![vec![0], vec![1], vec![2]],
    );
    assert!(all.iter().all(|found| *found == expected), "{all:?}");
}

#[test]
fn a_value_that_comes_late_is_waited_for() {
    let address = memory();
    let mut late = Store::connect(&address, "run/", SOON).unwrap();
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        late.set("late", b"here").unwrap();
    });
    let mut store = Store::connect(&address, "run/", SOON).unwrap();
    assert_eq!(store.get("late", SOON).unwrap().unwrap(), b"here");
    writer.join().unwrap();
    // A second attempt of the run does not see what the first one left.
    let mut other = Store::connect(&address, "again/", SOON).unwrap();
    assert!(!other.has("late").unwrap());
}

#[test]
fn a_rank_that_does_not_come_is_named() {
    let address = memory();
    let missing = |ranks: &str| {
        format!(
            "rank {ranks} did not come within 1 s: see whether the process runs, or set NEXTSCALE_RANK_TIMEOUT to more seconds"
        )
    };
    let mut first = Store::connect(&address, "a/", SECOND).unwrap();
    let mut second = Store::connect(&address, "a/", SECOND).unwrap();
    second.set("meet/1", b"").unwrap();
    let error = told(first.exchange(&rank(0, 4), "meet", b""));
    assert_eq!(error, missing("2, 3"));
    // The others wait longer than the first, which names who is missing.
    let error = told(second.exchange(&rank(1, 4), "meet", b""));
    assert_eq!(error, missing("0"));
}

#[test]
fn what_is_no_store_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let error = told(Store::connect(&address, "a/", Duration::from_millis(300)));
    let expected = format!("torchrun's store does not answer at {address} within 0 s (");
    assert!(error.starts_with(&expected), "{error}");
    let error = told(Store::connect("name.invalid:1", "a/", Duration::ZERO));
    assert!(error.contains("at name.invalid:1 within 0 s ("), "{error}");

    // Programs that answer something else, that hang up, and that say nothing.
    let answers: [Option<&[u8]>; 3] = [Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Some(b""), None];
    for answer in answers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            match answer {
                Some(answer) => stream.write_all(answer).unwrap(),
                None => thread::sleep(SOON),
            }
        });
        let error = told(Store::connect(&address, "a/", SECOND));
        assert_eq!(
            error,
            format!(
                "what answers at {address} is not torchrun's store: another program has the port, so start torchrun with another one"
            )
        );
    }
}
