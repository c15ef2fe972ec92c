//! Norms, activations and sums of a block on the CPU, each in one pass on all cores.
//!
//! The tensor library computes one operation after another on one thread, and each writes a tensor: next to products that use all
//! cores, that was a fifth of the time of an image. Of these only GELU records gradients; for the others, training uses the
//! written-out operations.

mod attention;
mod gelu;
mod heads;
mod pieces;
mod rows;

pub(crate) use attention::attention;
pub(crate) use gelu::{TANH_DOWN, TANH_MOST, TANH_UP, gelu, recorded_gelu};
pub(crate) use heads::{Scaling, heads};
pub(crate) use rows::{add_scaled, norm};
