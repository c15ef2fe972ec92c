//! Compiled kernels in one file, for other machines with the same card: a tar archive of the folder of kernels, whose first
//! entry says what they were compiled for.

mod pack;
mod target;
#[cfg(test)]
mod tests;
mod unpack;

pub use pack::export;
pub use target::{CardKind, Target};
pub use unpack::{Imported, import};
