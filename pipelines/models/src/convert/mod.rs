//! Weights in another number type or layout: a checkpoint as one file, or a model folder as another.

mod checkpoint;
mod folder;
mod write;

pub use checkpoint::Conversion;
pub use folder::FolderConversion;
pub use write::ConvertedDtype;
