//! Low-rank adapters (LoRA, arXiv 2106.09685): two thin matrices for a weight, whose product is added to it.
//!
//! ```text
//! W + strength * alpha / r * up down,   W [out, in], up [out, r], down [r, in]
//! ```
//!
//! Adapters of PEFT, of kohya's scripts and of diffusers are read; their names are matched with the official names of a
//! model's tensors.

mod file;
mod names;
mod write;

pub use file::Lora;
pub use write::{LoraExport, LoraStyle};
