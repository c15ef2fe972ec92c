//! Inception-v3 (arXiv 1512.00567) as FID uses it, from the files that people have.
//!
//! | file | idea |
//! |---|---|
//! | `layout` | the layers as a table |
//! | `network` | convolutions, poolings and branches |
//! | `weights` | the names of both layouts; batch norms are folded into the convolutions |
//! | `model` | images in, features and logits out |

mod layout;
mod model;
mod network;
mod weights;

pub use layout::{Variant, tensors};
pub use model::{Inception, Preparation};
pub use weights::WEIGHTS;
