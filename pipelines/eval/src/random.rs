//! Models of published sizes with random weights, so that speed can be compared without a checkpoint.

use nextscale_models::{Manifest, released};

use crate::error::EvalError;

/// The description of a size.
pub(crate) fn manifest(name: &str) -> Result<Manifest, EvalError> {
    released::shape(name).ok_or_else(|| EvalError::UnknownSize {
        name: name.to_owned(),
        known: released::SHAPES,
    })
}
