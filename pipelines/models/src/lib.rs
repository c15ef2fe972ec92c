//! Models of Nextscale as one thing: descriptions, released checkpoints, memory and devices.

pub mod bundle;
pub mod convert;
pub mod device;
pub mod error;
pub mod memory;

pub use bundle::{Bundle, Model};
pub use error::ModelError;
