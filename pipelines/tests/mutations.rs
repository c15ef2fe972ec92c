//! Damaged files of every kind: ten thousand mutations of each, and no parser panics, hangs or takes more memory than a file deserves.
//!
//! `NEXTSCALE_MUTATIONS` changes their number, `NEXTSCALE_MUTATION_SEED` the first of them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use image::{ImageFormat, Rgb, RgbImage};
use nextscale_pipelines::media;
use nextscale_pipelines::spec::PipelineSpec;
use nextscale_weights::WeightFile;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Notes the largest piece of memory that was asked for.
struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that a parser may ask for at once: an image of the largest size that is read, with alpha.
const MOST_BYTES: usize = 4 * 320_000_000;
/// Time that one file may take.
const LONGEST: Duration = Duration::from_secs(10);

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

/// Feeds mutations of the seeds to a parser of files.
fn survive(name: &str, seeds: &[Vec<u8>], extension: &str, parse: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("x.{extension}"));
    let first = number_of("NEXTSCALE_MUTATION_SEED", 0);
    for round in 0..number_of("NEXTSCALE_MUTATIONS", 10_000) {
        let mut rng = StdRng::seed_from_u64(first + round);
        let seed = &seeds[round as usize % seeds.len()];
        let bytes = mutated(seed, &mut rng);
        std::fs::write(&path, &bytes).unwrap();
        LARGEST.store(0, Ordering::Relaxed);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| parse(&path)));
        let case = || {
            let kept = std::env::temp_dir()
                .join(format!("nextscale-{name}-{}.{extension}", first + round));
            std::fs::write(&kept, &bytes).unwrap();
            format!("{name}, seed {}: {}", first + round, kept.display())
        };
        assert!(result.is_ok(), "a panic: {}", case());
        assert!(
            start.elapsed() < LONGEST,
            "{:?}: {}",
            start.elapsed(),
            case()
        );
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(largest <= MOST_BYTES, "{largest} bytes: {}", case());
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn files(folder: &str, extensions: &[&str]) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(repository(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let is_one = |path: &&PathBuf| {
        extensions
            .iter()
            .any(|extension| path.extension().is_some_and(|e| e == *extension))
    };
    let found: Vec<_> = paths
        .iter()
        .filter(is_one)
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(!found.is_empty(), "{folder}");
    found
}

fn image_in(format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(24, 16, |x, y| Rgb([x as u8 * 9, y as u8 * 9, 90]));
    let mut bytes = Cursor::new(vec![]);
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn pipelines() {
    let seeds = files("pipelines/presets", &["yaml"]);
    survive("yaml", &seeds, "yaml", |path| {
        let _ = PipelineSpec::from_file(path);
    });
}

#[test]
fn images_and_their_texts() {
    let formats = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Tiff,
    ];
    let mut seeds: Vec<Vec<u8>> = formats.into_iter().map(image_in).collect();
    seeds.extend(
        files("docs/images", &["png"])
            .into_iter()
            .filter(|bytes| bytes.len() < 100_000),
    );
    survive("image", &seeds, "png", |path| {
        let _ = media::read_image(path);
        let _ = media::tags(path);
    });
}

#[cfg(feature = "ffmpeg")]
#[test]
fn videos() {
    let seeds = files("tests/videos", &["mp4", "mkv", "mov", "ts", "h264"]);
    survive("video", &seeds, "mp4", |path| {
        let _ = media::tags(path);
    });
}

#[test]
fn weights() {
    let tensors = [("a.weight", vec![1.0f32; 12]), ("b", vec![2.0; 3])];
    let bytes: Vec<(&str, Vec<u8>)> = tensors
        .iter()
        .map(|(name, numbers)| {
            (
                *name,
                numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            )
        })
        .collect();
    let views = bytes.iter().map(|(name, bytes)| {
        let view = safetensors::tensor::TensorView::new(
            safetensors::Dtype::F32,
            vec![bytes.len() / 4],
            bytes,
        );
        (*name, view.unwrap())
    });
    let mut seeds = vec![safetensors::serialize(views, None).unwrap()];
    seeds.extend(files("tests/golden/archives", &["pth"]));
    seeds.extend(files("tests/golden/t5-shards", &["bin"]));
    survive("weights", &seeds, "pth", |path| {
        if let Ok(file) = WeightFile::open(path) {
            let names: Vec<String> = file.names().map(str::to_owned).collect();
            for name in names {
                let _ = file.read(&name);
            }
        }
    });
    let index =
        br#"{"metadata": {}, "weight_map": {"a.weight": "x.safetensors", "b": "y.safetensors"}}"#;
    survive("index", &[index.to_vec()], "index.json", |path| {
        let _ = WeightFile::open(path);
    });
}
