//! `nextscale eval geneval` and `vbench`: what the official scorers read, for the prompts of the benchmarks.
//!
//! | file | idea |
//! |---|---|
//! | `geneval` | images of GenEval's prompts (arXiv 2310.11513) |
//! | `vbench` | videos of VBench's prompts (arXiv 2311.17982) |
//! | `record` | the file that describes a run, so that it goes on where it was stopped |

mod geneval;
mod record;
mod vbench;

pub use geneval::geneval;
pub use record::{BenchmarkOptions, BenchmarkReport, Record};
pub use vbench::vbench;
