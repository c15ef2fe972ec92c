//! The weight files of a fixture: `weights.safetensors` and, in some, its twin `weights.pth`.

use std::path::{Path, PathBuf};

use burn::module::Module;
use nextscale_tests::{Fixture, Report};
use nextscale_weights::WeightError;

/// The official weights of a fixture: its own, or those of the fixture that it names.
pub fn official(f: &Fixture) -> PathBuf {
    let folder = f.config["weights"].as_str().unwrap_or(".");
    f.dir.join(folder).join("weights.safetensors")
}

/// Whether the twin, if there is one, loads to the same module.
pub fn check_twin<M: Module>(
    f: &Fixture,
    ours: &M,
    load: impl FnOnce(&Path) -> M,
    report: &mut Report,
) {
    if let Some(path) = f.pth() {
        report.part("weights.pth", |report| {
            report.same_weights("weights.pth", ours, &load(&path));
        });
    }
}

/// Whether `save` writes the official file again. Of its keys, those that `constant` knows may be absent.
pub fn check_resaved(
    f: &Fixture,
    save: impl FnOnce(&Path) -> Result<(), WeightError>,
    constant: impl Fn(&str) -> bool,
    report: &mut Report,
) {
    report.part("resaved", |report| {
        let dir = tempfile::tempdir().expect("a folder for temporary files");
        let path = dir.path().join("model.safetensors");
        save(&path).unwrap_or_else(|e| panic!("{e}"));
        report.same_file("resaved", &path, &official(f), constant);
    });
}
