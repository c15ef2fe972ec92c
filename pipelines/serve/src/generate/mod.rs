//! What a client wants to have generated, whichever API it speaks, and the pipeline for it.

mod check;
mod pipeline;
mod read;
mod seed;
mod settings;

pub(crate) use settings::{Generate, Variation};
