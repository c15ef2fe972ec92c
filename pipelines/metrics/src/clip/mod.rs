//! CLIP (arXiv 2103.00020): how well images fit their texts.
//!
//! | file | idea |
//! |---|---|
//! | `transformer` | the blocks that both towers share |
//! | `weights` | OpenAI's layout, from which the sizes follow |
//! | `tokens` | texts to token ids |
//! | `model` | images and texts in, vectors and scores out |

mod model;
mod tokens;
mod transformer;
mod weights;

pub use model::{Clip, scores};
pub use tokens::{Tokens, VOCABULARY};
pub use weights::WEIGHTS;
