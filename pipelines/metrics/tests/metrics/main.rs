//! Metrics compared with the packages that papers use (`fixtures/metrics.json`, which `tests/official/make_metrics.py` makes), and files
//! that are wrong.

mod clip;
mod files;
mod golden;
#[path = "../hashed_vgg/mod.rs"]
mod hashed_vgg;
mod hashes;
