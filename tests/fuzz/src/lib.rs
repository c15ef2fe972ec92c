//! Everything that reads a stranger's file, with files to start from and the limit of memory for all of them: for the fuzz
//! targets here, and for `pipelines/tests/mutations.rs`, which includes this file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use nextscale_pipelines::spec::PipelineSpec;
use nextscale_pipelines::{media, stages};
#[cfg(feature = "ffmpeg")]
use nextscale_video::mp4::{ReaderOptions, VideoReader};
use nextscale_weights::WeightFile;

/// A reader of files.
pub struct Reader {
    /// The name of its fuzz target and of its folder in `seeds`.
    pub name: &'static str,
    /// The ending of its files.
    pub extension: &'static str,
    /// Folders of the repository with further files to start from, and their endings.
    more: &'static [(&'static str, &'static [&'static str])],
    /// Reads a file; whether it is one.
    read: fn(&Path) -> bool,
}

/// All readers.
pub const READERS: &[Reader] = &[
    Reader {
        name: "pipelines",
        extension: "yaml",
        more: &[("pipelines/presets", &["yaml"])],
        read: |path| PipelineSpec::from_file(path).is_ok(),
    },
    Reader {
        name: "prompts",
        extension: "txt",
        more: &[],
        read: prompts,
    },
    Reader {
        name: "images",
        extension: "png",
        more: &[("pipelines/cli/tests/pictures", &["jpg"])],
        read: |path| media::read_image(path).is_ok() | media::tags(path).is_ok(),
    },
    Reader {
        name: "masks",
        extension: "png",
        more: &[],
        read: |path| stages::read_mask(path).is_ok(),
    },
    Reader {
        name: "safetensors",
        extension: "safetensors",
        more: &[],
        read: weights,
    },
    Reader {
        name: "archives",
        extension: "pth",
        more: &[
            ("tests/golden/archives", &["pth"]),
            ("tests/golden/t5-shards", &["bin"]),
        ],
        read: weights,
    },
    Reader {
        name: "index",
        extension: "index.json",
        more: &[("tests/golden/t5-shards", &["json"])],
        read: index,
    },
    #[cfg(feature = "ffmpeg")]
    Reader {
        name: "videos",
        extension: "mp4",
        more: &[("tests/videos", &["mp4", "mkv", "mov", "ts", "h264", "mp3"])],
        read: video,
    },
];

fn prompts(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap();
    let prompts = stages::read_prompts(&bytes, "prompts.txt").unwrap_or_default();
    for prompt in &prompts {
        let _ = stages::foreign_syntax(prompt);
    }
    !prompts.is_empty()
}

fn weights(path: &Path) -> bool {
    let Ok(file) = WeightFile::open(path) else {
        return false;
    };
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    names
        .iter()
        .fold(true, |good, name| file.read(name).is_ok() & good)
}

/// An index, next to the shards that the good ones in `seeds` name.
fn index(path: &Path) -> bool {
    for shard in [
        "tests/fuzz/seeds/safetensors/a.safetensors",
        "tests/golden/t5-shards/pytorch_model-00001-of-00002.bin",
        "tests/golden/t5-shards/pytorch_model-00002-of-00002.bin",
    ] {
        let shard = root().join(shard);
        let beside = path.with_file_name(shard.file_name().unwrap());
        if !beside.exists() {
            std::fs::copy(&shard, &beside).unwrap();
        }
    }
    weights(path)
}

/// The tags of a video, its header and the first frames.
#[cfg(feature = "ffmpeg")]
fn video(path: &Path) -> bool {
    let has_tags = media::tags(path).is_ok();
    let Ok(reader) = VideoReader::open(path, ReaderOptions::default()) else {
        return has_tags;
    };
    let _ = reader.info();
    reader.take(3).all(|frame| frame.is_ok())
}

/// The repository: the folder of `Cargo.lock` above the crate that is built.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here
        .ancestors()
        .find(|folder| folder.join("tests/fuzz/seeds").exists());
    root.expect("the repository").to_owned()
}

impl Reader {
    /// The reader of a name.
    pub fn of(name: &str) -> Option<&'static Self> {
        READERS.iter().find(|reader| reader.name == name)
    }

    /// The files to start from.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        let own = format!("tests/fuzz/seeds/{}", self.name);
        let mut paths = files(&root().join(own), |_| true);
        for (folder, extensions) in self.more {
            paths.extend(files(&root().join(folder), |path| {
                let extension = path.extension().and_then(|e| e.to_str());
                extension.is_some_and(|e| extensions.contains(&e))
            }));
        }
        let seeds = paths.iter().map(|path| std::fs::read(path).unwrap());
        seeds.collect()
    }

    /// Reads a file within the limit of memory; whether it is a good one.
    ///
    /// # Panics
    /// A file that takes too much memory at once.
    pub fn check(&self, path: &Path) -> bool {
        LARGEST.store(0, Ordering::Relaxed);
        let is_good = (self.read)(path);
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(
            largest <= MOST_BYTES,
            "it asked for {largest} bytes at once"
        );
        is_good
    }
}

fn files(folder: &Path, is_one: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = paths.filter(|path| is_one(path)).collect();
    found.sort();
    found
}

/// Bytes that a reader may ask for at once: an image of the largest size that is read, with alpha.
const MOST_BYTES: usize = 4 * 320_000_000;

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
