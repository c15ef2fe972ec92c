//! The paradigms side by side: VAR, raster autoregression and diffusion with as many parameters, trained for as long by the same trainer
//! on the same data.
//!
//! VAR and diffusion share an auto-encoder with several scales: VAR draws its codes, diffusion its continuous latents. Raster
//! autoregression has one of the same size with a single scale. Images are compared in the features of a classifier of the data.

mod competitor;
mod judge;
mod options;
mod report;
mod study;

pub use options::ParadigmsOptions;
pub use study::run;
