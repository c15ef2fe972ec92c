//! A diffusion transformer of classes: DiT (arXiv 2212.09748), whose blocks are modulated by the time and the class (adaLN-Zero).
//!
//! ```text
//! noisy latent, time, class  ─►  transformer  ─►  velocity (rectified flow) or noise (DDPM)
//! ```

mod config;
mod import;
mod loss;
mod model;
mod position;
mod process;
mod sample;

pub use config::{DitConfig, DitPrediction};
pub use import::{dit_keys, load_dit};
pub use loss::{Noised, loss};
pub use model::Dit;
pub use process::{Ddpm, Process};
pub use sample::{SampleInput, Sampling, noise, sample};
