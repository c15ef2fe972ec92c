//! Damaged files of every kind: ten thousand mutations of each, and no reader panics, hangs or takes more memory than a file
//! deserves. The readers, their files and limit of memory are those of the fuzz targets.
//!
//! `NEXTSCALE_MUTATIONS` changes their number, `NEXTSCALE_MUTATION_SEED` the first of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[path = "../../tests/fuzz/src/lib.rs"]
mod fuzz;

use fuzz::Reader;

/// Time that one file may take.
const LONGEST: Duration = Duration::from_secs(60);

fn number_of(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |text| text.parse().expect("a number"))
}

/// Changes some bytes, cuts, repeats or moves parts: what transfers and editors do to files, and what an attacker tries first.
fn mutated(seed: &[u8], rng: &mut StdRng) -> Vec<u8> {
    const EDGES: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        let end = (at + rng.random_range(1..9)).min(bytes.len());
        match rng.random_range(0..7) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = EDGES[rng.random_range(0..EDGES.len())],
            2 => bytes[at..end].fill(EDGES[rng.random_range(0..EDGES.len())]),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let part = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, part);
            }
            _ => bytes[at] = rng.random(),
        }
    }
    bytes
}

/// Feeds a reader its files, which must be good ones or refused, and then mutations of them.
fn survive(name: &str) {
    let reader = Reader::of(name).expect("a reader");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("x.{}", reader.extension));
    let seeds = reader.seeds();
    let good = seeds.iter().filter(|seed| {
        std::fs::write(&path, seed).unwrap();
        reader.check(&path)
    });
    let (good, all) = (good.count(), seeds.len());
    assert!(2 * good >= all, "{name}: only {good} of {all} are read");
    let first = number_of("NEXTSCALE_MUTATION_SEED", 0);
    for round in first..first + number_of("NEXTSCALE_MUTATIONS", 10_000) {
        let mut rng = StdRng::seed_from_u64(round);
        let bytes = mutated(&seeds[round as usize % all], &mut rng);
        std::fs::write(&path, &bytes).unwrap();
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| reader.check(&path)));
        let took = start.elapsed();
        if result.is_err() || took > LONGEST {
            let file = format!("nextscale-{name}-{round}.{}", reader.extension);
            let kept = std::env::temp_dir().join(file);
            std::fs::write(&kept, &bytes).unwrap();
            panic!("{name}, seed {round}, {took:?}: {}", kept.display());
        }
    }
}

/// A test for each reader.
macro_rules! readers {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                survive(stringify!($name));
            }
        )*

        #[test]
        fn every_reader_has_a_test_and_a_fuzz_target() {
            let names: Vec<&str> = fuzz::READERS.iter().map(|reader| reader.name).collect();
            let mut tested = vec![$(stringify!($name)),*];
            if cfg!(feature = "ffmpeg") {
                tested.push("videos");
            }
            assert_eq!(names, tested);
            let targets = include_str!("../../tests/fuzz/Cargo.toml");
            for name in tested {
                assert!(targets.contains(&format!("[[bin]]\nname = \"{name}\"\n")), "{name}");
            }
        }
    };
}

readers!(pipelines prompts images masks safetensors archives index);

#[cfg(feature = "ffmpeg")]
#[test]
fn videos() {
    survive("videos");
}
