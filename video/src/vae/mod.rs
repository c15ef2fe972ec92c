//! The causal 3-D auto-encoder of InfinityStar: pixels to a latent with time, and back.
//!
//! The first frame of a clip is a latent frame of its own, so an image is a clip of one frame; after it, every `p` frames
//! make one latent frame. Nothing depends on later frames, so a clip of any length is processed in chunks, and each
//! convolution caches the last two frames of its input ([`FrameCache`](crate::conv3d::FrameCache)).
//!
//! ```text
//! pixels ─ encoder ─ mean, variance ─ 2x2 into channels ─ sample ─ linear ─ latent
//! latent ─ linear ─ channels into 2x2 ─ decoder, with norms conditioned on it ─ pixels
//! ```

#[cfg(feature = "cuda")]
mod card;
mod config;
mod decoder;
mod encoder;
mod import;
mod model;
mod posterior;
pub mod resample;
mod stream;

pub use config::InfinityStarVaeConfig;
pub use decoder::{Decoder, DecoderBlock, DecoderLevel};
pub use encoder::{Encoder, EncoderBlock, EncoderLevel};
pub use import::is_unused;
pub use model::{InfinityStarVae, Pointwise};
pub use posterior::Posterior;
pub use stream::{DecodeStream, EncodeStream};
