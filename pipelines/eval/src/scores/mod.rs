//! `nextscale eval fid`, `is`, `precision-recall`, `clip-score` and `psnr-ssim-lpips`: the figures of papers, of folders or of a model.
//!
//! | file | idea |
//! |---|---|
//! | `network` | the networks of the metrics, from the files that the user names |
//! | `set` | a set of images: a folder, a file, or a model that generates them |
//! | `generated` | the images of a model |
//! | `fid`, `inception_score`, `precision_recall`, `clip_score`, `pairs` | a measurement each |

mod clip_score;
mod fid;
mod generated;
mod inception_score;
mod network;
mod pairs;
mod precision_recall;
mod set;

pub use clip_score::{ClipOptions, ClipReport, clip_score};
pub use fid::{FidOptions, FidReport, SetReport, fid};
pub use generated::ModelSet;
pub use inception_score::{ScoreOptions, ScoreReport, inception_score};
pub use network::NetworkOptions;
pub use pairs::{PairOptions, PairReport, PairsReport, pairs};
pub use precision_recall::{ManifoldOptions, ManifoldReport, precision_recall};
pub use set::ImageSet;
