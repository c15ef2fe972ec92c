//! Training of the small classifier whose features take the place of Inception's.

mod config;
mod load;
mod task;

pub(crate) use config::ClassifierRun;
pub use load::trained_classifier;
