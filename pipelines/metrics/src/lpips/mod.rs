//! LPIPS: how far apart two images are in the features of a network (arXiv 1801.03924).
//!
//! | file | idea |
//! |---|---|
//! | `network` | the convolutions of VGG16 and of AlexNet |
//! | `weights` | reading torchvision's files and those of the package `lpips` |
//! | `distance` | the distance |

mod distance;
mod network;
#[cfg(test)]
mod tests;
mod weights;

pub use distance::Lpips;
pub use network::Network;
