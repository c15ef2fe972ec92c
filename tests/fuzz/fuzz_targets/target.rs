//! One target for each reader, which has its name.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nextscale_fuzz::Reader;

const NAME: &str = env!("CARGO_BIN_NAME");

static READER: LazyLock<&Reader> = LazyLock::new(|| Reader::of(NAME).expect("a reader"));

/// The file that is read, in a folder of this process.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("nextscale-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(format!("x.{}", READER.extension))
});

/// Puts the files to start from into the folder that `cargo fuzz` begins with.
fn seed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(NAME);
    std::fs::create_dir_all(&folder).unwrap();
    for (i, bytes) in READER.seeds().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{i}")), bytes).unwrap();
    }
}

fuzz_target!(init: seed(), |bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).unwrap();
    READER.check(&FILE);
});
