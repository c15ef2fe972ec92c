//! LPIPS, the perceptual part of the loss: how far apart two images are in the features of VGG16 (arXiv 1801.03924).
//!
//! | file | idea |
//! |---|---|
//! | `config` | the keys of `loss.perceptual` |
//! | `vgg` | the convolutions of VGG16 |
//! | `weights` | reading torchvision's file and that of the package `lpips` |
//! | `lpips` | the distance |

mod config;
mod lpips;
#[cfg(test)]
mod tests;
mod vgg;
mod weights;

pub(crate) use config::PerceptualLoss;
pub(crate) use lpips::Lpips;
