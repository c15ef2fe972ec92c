//! Metrics of generated images: the Frechet distance (FID), the Inception Score, improved precision and recall, the CLIP score, PSNR, SSIM
//! and LPIPS, each with the numbers of the packages that papers use.
//!
//! | I want … | use |
//! |---|---|
//! | the distance of two sets of images | [`frechet::distance`] of two [`statistics::Gaussian`]s |
//! | statistics from a file, or to one | [`npz`] |
//! | a score without reference images | [`inception_score::of`] |
//! | quality and variety apart | [`manifold::precision_recall`] |
//! | how well images fit their prompts | [`clip::Clip`] |
//! | how far pairs of images are apart | [`pairs`] and [`lpips::Lpips`] |
//! | features of a classifier of the data itself | [`classifier::ClassifierFeatures`] |
//! | features of another network | the trait [`features::Features`] |
//!
//! Weights are never downloaded: the caller names the files, and an error says where people get them.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod classifier;
pub mod clip;
mod error;
pub mod features;
pub mod frechet;
pub mod images;
pub mod inception;
pub mod inception_score;
pub mod lpips;
pub mod manifold;
pub mod npz;
pub mod pairs;
mod resize;
mod source;
pub mod statistics;

pub use error::MetricsError;
