//! The InfinityStar transformer: prompt, previous clip and running sum in, two logits per bit out.
//!
//! The tokens of a pass are the running sum, resized to the grid of the scale and projected to `C` by a linear layer. They
//! attend to each other, the prompt and the finest grid of the previous clip; positions are rotary over four axes: scale,
//! frame, row and column. Semantic and detail codes have a head each (InfinityStar, arXiv:2511.04675;
//! `infinity/models/infinity.py` and `basic.py` of the reference).
//!
//! The residual stream, norms, positions and heads run in f32; matrix products run in the dtype in which the weights are
//! stored.

mod attention;
mod block;
#[cfg(feature = "cuda")]
mod card;
mod config;
mod import;
mod model;
#[cfg(feature = "cuda")]
mod norms;
mod position;
mod state;
mod teacher_forcing;

pub use attention::attend_grouped;
pub use block::{Attention, Block, Limits, Mlp, RmsNorm};
pub use config::InfinityStarConfig;
#[cfg(test)]
pub(crate) use import::tiny;
pub use import::{
    infinity_star_config, infinity_star_keys, is_unread, load_infinity_star, read_infinity_star,
    save_infinity_star,
};
pub use model::InfinityStar;
pub use position::{grid_positions, text_positions};
pub use state::{Segment, State};
pub use teacher_forcing::AttentionSpan;
pub(crate) use teacher_forcing::{TeacherPass, check};
