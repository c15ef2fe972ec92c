//! A patch discriminator that is trained against the auto-encoder (arXiv 1611.07004, 2012.09841).
//!
//! | file | idea |
//! |---|---|
//! | `config` | the keys of `loss.adversarial` |
//! | `batch_norm` | batch norm with running statistics |
//! | `discriminator` | the network |
//! | `losses` | the losses of both sides, and their gradients |
//! | `model` | auto-encoder and discriminator as one module |

mod batch_norm;
mod config;
mod discriminator;
mod losses;
mod model;
#[cfg(test)]
mod tests;

pub(crate) use batch_norm::Statistics;
pub(crate) use config::AdversarialLoss;
pub(crate) use discriminator::PatchDiscriminator;
pub(crate) use losses::{adaptive_weight, discriminate, generate, gradient_of};
pub(crate) use model::{Adversarial, DISCRIMINATOR};
