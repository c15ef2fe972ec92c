//! Video clip by clip, and each clip scale by scale: InfinityStar (arXiv:2511.04675).
//!
//! A video is an image followed by clips of a few seconds. Each of them has a pyramid of its own, generated from a single
//! cell per frame to the full grid by the same transformer, which attends to the text and to the full-size grid of the
//! previous clip. A causal auto-encoder decodes the sum of a pyramid's codes to frames.
//!
//! ```text
//! p(r | text) = prod over clips c and scales k of p(r_ck | f_c,k-1, finest grid of clip c-1, text)
//! f_ck = f_c,k-1 + up(embed(r_ck))          a scale may take several passes: k counts passes
//! ```
//!
//! | letter | meaning | released 8B at 720p |
//! |---|---|---|
//! | c, k | clip, pass in it | image and 1 clip, 45 and 40 passes |
//! | t, h, w | latent frames, rows, columns | 1 or 20, 45, 80 |
//! | d | bits per cell: semantic or detail | 16, 64 |
//! | z | channels between encoder and decoder | 16 |
//! | p | frames per latent frame | 4 |
//! | l | tokens of a pass | 1..72000 |
//! | C, h, g | width, query heads, key heads | 4096, 32, 8 |

pub mod clips;
pub mod codes;
pub mod conv3d;
mod error;
pub mod generate;
pub mod guidance;
pub mod infinity_star;
pub mod interactive_session;
pub mod memory;
#[cfg(feature = "ffmpeg")]
pub mod mp4;
pub mod norm;
pub mod preset;
pub mod pyramid;
pub mod rate;
pub mod templates;
pub mod train;
pub mod vae;

pub use clips::{Layout, Plan};
pub use codes::{CodeBits, CodeKind, InfinityStarQuantizer};
pub use error::ConfigError;
pub use generate::{GenerateInput, GenerateOptions, Generation, Step, generate};
pub use guidance::InfinityStarGuidance;
pub use infinity_star::{InfinityStar, InfinityStarConfig};
pub use interactive_session::InteractiveSession;
pub use preset::InfinityStarPreset;
pub use rate::{FrameRate, FrameRateError};
pub use vae::{InfinityStarVae, InfinityStarVaeConfig};
