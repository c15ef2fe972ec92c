//! The convolutional layers of image tokenizers: convolution, group norm, residual block, attention, up, down.

mod attention;
mod columns;
mod conv2d;
mod fast;
mod fast_norm;
mod group_norm;
#[cfg(target_arch = "x86_64")]
mod half;
mod kernel;
mod norm;
mod product;
mod res_block;
mod taps;
mod winograd;

pub use attention::SpatialAttention;
pub use conv2d::{Conv, convolve, convolve_padded, is_fast, nearest_up};
pub use fast::in_bf16;
pub use group_norm::{GroupNorm, Moments};
pub use res_block::ResBlock;
