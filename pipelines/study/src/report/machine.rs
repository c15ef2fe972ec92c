//! How a report was made.

use std::process::Command;
use std::thread::available_parallelism;

use serde::Serialize;

/// How a report was made.
#[derive(Debug, Clone, Serialize)]
pub struct Provenance {
    /// The exact command.
    pub command: String,
    /// The version of the program.
    pub version: String,
    /// The commit of the checkout in which it ran, if it is one of this program.
    pub commit: Option<String>,
    /// The device of the tensors.
    pub device: String,
    /// The processor, with its threads.
    pub processor: String,
    /// The seeds.
    pub seeds: Vec<u64>,
}

impl Provenance {
    /// That of a command on a device.
    pub fn new(command: &str, device: &str, seeds: &[u64]) -> Self {
        Self {
            command: command.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit(),
            device: device.to_owned(),
            processor: processor(),
            seeds: seeds.to_vec(),
        }
    }
}

/// The commit of the folder, if it is a checkout of this program.
fn commit() -> Option<String> {
    let ours = std::path::Path::new("var-core/Cargo.toml").exists();
    let git = ours.then(|| {
        Command::new("git")
            .args(["rev-parse", "--short", "HEAD"])
            .output()
    });
    let output = git?.ok().filter(|output| output.status.success())?;
    let commit = String::from_utf8(output.stdout).ok()?;
    Some(commit.trim().to_owned())
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let name = name.map_or(std::env::consts::ARCH, |name| {
        name.trim_start_matches([' ', '\t', ':'])
    });
    let threads = available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{name}, {threads} threads")
}
