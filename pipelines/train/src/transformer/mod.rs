//! Training of transformers: one file an architecture.

pub mod infinity;
pub mod infinity_star;
pub mod var;

use serde::{Deserialize, Serialize};

/// What a transformer paints from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransformerKind {
    /// Prompts: a [`TransformerRun`].
    #[default]
    Infinity,
    /// Classes: a [`ClassRun`](crate::transformer::var::ClassRun).
    Var,
    /// Prompts, in videos: a [`StarRun`](crate::transformer::infinity_star::StarRun).
    Star,
}
