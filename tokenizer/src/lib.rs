//! Pixels to multi-scale codes and back.
//!
//! A latent is encoded as a pyramid of codes, coarse to fine: each scale quantises the residual of the scales before it,
//! and the sum of all scales at full size is the latent that is decoded (VAR, arXiv:2404.02905; Infinity,
//! arXiv:2412.04431).
//!
//! ```text
//! r_k = quantise(down(f - f_{k-1}))        f_k = f_{k-1} + phi_k(up(embed(r_k)))
//! ```
//!
//! | letter | meaning | in the papers | typical |
//! |---|---|---|---|
//! | b | images in a batch | B | 1..64 |
//! | c | channels of a latent, or bits of a code | C, d | 14..64 |
//! | t, h, w | frames, rows, columns | T, h, w | 1, 16..64, 16..64 |
//! | k | scale, from 0 | k | 0..13 |

#[macro_use]
mod widest;

pub mod autoencoder;
#[cfg(feature = "cuda")]
pub mod card;
pub mod conv;
pub mod cpu;
pub mod determinism;
mod exact;
pub mod graphs;
pub mod inpaint;
pub mod patch;
pub mod phi;
pub mod product;
pub mod pyramid;
pub mod quantizer;
pub mod resize;
pub mod revival;
pub mod schedule;
pub mod usage;
pub mod vq;
pub mod vqvae;

pub use inpaint::InpaintMask;
pub use patch::{patchify, unpatchify};
pub use pyramid::Pyramid;
pub use quantizer::{Codes, Quantizer};
pub use resize::{Resize, resize};
pub use schedule::{Scale, ScaleSchedule, ScheduleError};
pub use vq::Codebook;
pub use vqvae::{VqCodes, VqVae, VqVaeConfig};
