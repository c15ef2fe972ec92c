//! The Infinity transformer: text and earlier scales in, two logits per bit out.
//!
//! The first token is the pooled prompt. The tokens of scale `k > 1` are the running feature map, resized to that scale
//! and projected to `C` by a linear layer. Each block attends to the image so far (cosine attention with 2-D rotary
//! positions), then to the text, and is modulated by the pooled prompt (Infinity, arXiv 2412.04431, section 3;
//! `infinity/models/infinity.py` and `basic.py` of the reference).
//!
//! The residual stream, norms, positions, modulation and the head run in f32; matrix products run in the dtype in which
//! the weights are stored.

mod block;
#[cfg(feature = "cuda")]
mod card;
mod config;
mod edit;
mod graph_memory;
#[cfg(feature = "cuda")]
mod graph_store;
mod model;
mod plan;
#[cfg(feature = "cuda")]
mod recording;
mod source;
mod state;
mod teacher;
mod text;

pub use block::{Block, CrossAttention};
pub use config::InfinityConfig;
pub use graph_memory::graph_bytes;
#[cfg(feature = "cuda")]
pub use graph_store::Graphs;
#[cfg(feature = "cuda")]
pub(crate) use graph_store::Lease;
pub use model::Infinity;
pub(crate) use model::unconditional_values;
pub use nextscale_var_core::layers::{Linear, gelu, inverse_norm, normalize, silu};
pub use plan::Plan;
pub use state::State;
pub(crate) use teacher::{teacher_block, teacher_end};
pub use text::{AttentivePool, TextCondition, TextProjection, TextState};
