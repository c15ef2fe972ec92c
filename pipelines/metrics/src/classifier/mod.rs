//! A small classifier whose features take the place of Inception's for data that Inception does not know, such as Fashion-MNIST: it is
//! trained on the data's own classes. A figure made with it is only comparable with others of the same classifier, and its label says so.
//!
//! ```text
//! image ─►  convolution, /2  ─►  residual block  ─►  /2  ─►  ...  ─►  mean over the cells: features  ─►  logits
//! ```

mod features;
mod model;

pub use features::ClassifierFeatures;
pub use model::{Classifier, ClassifierConfig};
