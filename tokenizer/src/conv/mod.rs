//! The convolutional layers of image tokenizers: convolution, group norm, residual block, attention, up, down.

/// Runs a function that is compiled for the widest vectors of the processor.
macro_rules! widest {
    ($name:ident, $body:ident, ($($arg:ident: $type:ty),*) $(-> $ret:ty)?) => {
        fn $name($($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn v4($($arg: $type),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn v3($($arg: $type),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                // Each is called only if the processor has the features that it was compiled for.
                if is_x86_feature_detected!("avx512f") {
                    return unsafe { v4($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    return unsafe { v3($($arg),*) };
                }
            }
            $body($($arg),*)
        }
    };
}

mod attention;
mod columns;
mod conv2d;
mod fast;
mod fast_norm;
mod group_norm;
mod kernel;
mod norm;
mod product;
mod res_block;
mod taps;
mod winograd;

pub use attention::SpatialAttention;
pub use conv2d::{Conv, convolve, is_fast, nearest_up};
pub use group_norm::{GroupNorm, Moments};
pub use res_block::ResBlock;
