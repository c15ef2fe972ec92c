//! Products of matrices on the CPU, in f32; [`bf16`] has those of 16 bits.
//!
//! Most of the time of an image goes into products of a few hundred rows with weights that are read once. The right factor is
//! packed block by block on its way, from whatever type it is stored in, so that no copy of the weights exists; a tile of sums
//! stays in registers (Goto and van de Geijn, doi:10.1145/1356052.1356053). One kernel serves all processors, with tiles of
//! 12 x 32 sums on AVX-512, 6 x 16 on AVX2 and elsewhere. Every sum adds its products in the same order, whatever the number of rows.

pub mod bf16;
mod matrix;
mod pack;
pub(crate) mod shared;
mod tensors;
mod tile;
mod vector;

pub use matrix::{Matrix, kernel, multiply, product};
pub use pack::Numbers;
pub use tensors::{matmul, matmul_int8};
