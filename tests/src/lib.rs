//! Shared helpers of the parity and end-to-end tests.
//!
//! A fixture is a folder with `config.json`, official weights and the tensors that the official code made with
//! them (`io.safetensors`). [`Fixture`] reads one, [`Report`] prints one line a comparison and counts.

mod fixture;
mod report;
mod stored;

pub use fixture::{Fixture, fixtures_in};
pub use report::{Agreement, Gaps, Report};
pub use stored::{Stored, read_safetensors};
