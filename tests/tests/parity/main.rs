//! Parity with the official code, from fixture folders.
//!
//! The name of a folder says what it holds (the longest known prefix wins); all sizes and settings come from its
//! `config.json` and its weights. The committed folders are in `tests/golden`; `NEXTSCALE_GOLDEN` names a folder with
//! more. The test prints one line for each tensor:
//!
//! ```text
//! PARITY <folder> <tensor> <largest error> <tolerance> ok|FAIL
//! PARITY <folder> - - - skip        an unknown kind of folder; never counted as passed
//! ```
//!
//! A stored tensor that is neither compared nor used as an input is a failure, unless a README of the folder or of its
//! parent lists it in a line "Not compared: `name`, `name`".
//!
//! `NEXTSCALE_DEVICE=cuda` (with the feature of that name) runs on the first card, and `gpu` or `gpu:0` (with the feature `wgpu`) on a GPU, with tolerances ten times as wide (`NEXTSCALE_TOLERANCE` is
//! another factor: a card that rounds f32 to TF32 needs 300), and a CUDA card's own kernels are compared with the CPU.
//! Arguments filter: only folders whose names contain one of them run.

#[cfg(feature = "cuda")]
mod card;
mod dit;
mod edit;
mod images;
mod infinity;
mod infinity_vae;
mod ops;
mod raster;
mod runs;
mod star;
mod star_interact;
mod star_plan;
mod star_vae;
mod t5;
mod tokenizer;
mod var;
mod var_vqvae;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::Device;
use nextscale_models::device::{self, DeviceChoice, Dtype};
use nextscale_tests::{Fixture, Report, fixtures_in};

/// Compares one folder.
type Check = fn(&Fixture, &mut Report);

type Failed = Box<dyn std::error::Error>;

/// Known prefixes of folder names.
const KINDS: [(&str, Check); 13] = [
    ("raster", raster::check),
    ("dit", dit::check),
    ("ops", ops::check),
    ("t5", t5::check),
    ("tokenizer", tokenizer::check),
    ("var-vqvae", var_vqvae::check),
    ("var", var::check),
    ("infinity-vae", infinity_vae::check),
    ("infinity-edit", edit::check),
    ("infinity", infinity::check),
    ("star-vae", star_vae::check),
    ("star-interact", star_interact::check),
    ("star", star::check),
];

fn kind(folder: &str) -> Option<Check> {
    let matching = KINDS
        .iter()
        .filter(|(prefix, _)| folder.starts_with(prefix));
    let (_, check) = matching.max_by_key(|(prefix, _)| prefix.len())?;
    Some(*check)
}

/// The device and the factor on tolerances.
fn device() -> Result<(Device, f64), Failed> {
    match std::env::var("NEXTSCALE_DEVICE").as_deref() {
        Err(_) | Ok("" | "cpu") => Ok((Device::flex(), 1.0)),
        Ok(name) => {
            let choice: DeviceChoice = name.parse()?;
            Ok((device::open(choice)?, tolerance()?))
        }
    }
}

/// The factor on tolerances on a card.
fn tolerance() -> Result<f64, Failed> {
    match std::env::var("NEXTSCALE_TOLERANCE") {
        Err(_) => Ok(10.0),
        Ok(factor) => Ok(factor.parse()?),
    }
}

/// All folders: the committed ones, and those of `NEXTSCALE_GOLDEN`, which win where names are the same.
fn folders() -> Result<BTreeMap<String, PathBuf>, Failed> {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut all = if committed.is_dir() {
        fixtures_in(&committed)?
    } else {
        BTreeMap::new()
    };
    if let Some(root) = std::env::var_os("NEXTSCALE_GOLDEN").filter(|root| !root.is_empty()) {
        let more = fixtures_in(Path::new(&root))?;
        if more.is_empty() {
            return Err(format!("NEXTSCALE_GOLDEN={root:?} holds no fixture").into());
        }
        all.extend(more);
    }
    Ok(all)
}

fn run(wanted: &[String]) -> Result<Report, Failed> {
    let (device, factor) = device()?;
    let folders = folders()?;
    let mut report = Report::new(factor);
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|part| part == name);
    if device::is_wgpu(&device) && wants("image") {
        report.enter("image");
        let bounds = [(Dtype::F32, 0.1, 2.0), (Dtype::F16, 2.0, 255.0)];
        images::check(&mut report, &device, &bounds);
    }
    #[cfg(feature = "cuda")]
    if device::is_cuda(&device) && wants("card") {
        report.enter("card");
        card::check(&mut report, &device);
    }
    for (name, path) in &folders {
        let twin = name.strip_suffix("-pth");
        let is_twin = twin.is_some_and(|name| folders.contains_key(name));
        let is_wanted = wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
        if is_twin || !is_wanted {
            continue;
        }
        report.enter(name);
        let Some(check) = kind(name) else {
            report.skip("-", "");
            continue;
        };
        match Fixture::open(path, &device) {
            Err(why) => report.fail("-", &why.to_string()),
            Ok(fixture) => {
                report.part("-", |report| check(&fixture, report));
                for tensor in fixture.unread() {
                    if fixture.is_exempt(tensor) {
                        report.skip(tensor, "(a README lists it as not compared)");
                    } else {
                        report.fail(tensor, "not compared, and no README lists it");
                    }
                }
            }
        }
    }
    Ok(report)
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let report = match run(&wanted) {
        Ok(report) => report,
        Err(why) => {
            eprintln!("parity: {why}");
            return ExitCode::from(2);
        }
    };
    let (passed, skipped, failed) = report.counts();
    println!(
        "parity: {passed} ok, {} FAIL, {skipped} skipped",
        failed.len()
    );
    for name in failed {
        println!("  FAIL {name}");
    }
    match (passed, failed.len()) {
        (1.., 0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
