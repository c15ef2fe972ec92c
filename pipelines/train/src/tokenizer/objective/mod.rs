//! The loss of a reconstruction, and the gradients of all networks that take part in it.
//!
//! | file | idea |
//! |---|---|
//! | `frames` | which frames of each clip VGG16 and the discriminator see |
//! | `reconstruction` | what a tokenizer hands over |
//! | `step` | loss and gradients of a batch |

mod frames;
mod reconstruction;
mod step;
#[cfg(test)]
mod tests;

pub(crate) use reconstruction::{Reconstruction, gradient_norm};
pub(crate) use step::{Objective, Settings};
