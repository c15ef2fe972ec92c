//! Files that are written whole or not at all, read within bounds, their checksums, their names as text, and downloads by `curl`.
//!
//! Everything else in Nextscale may use this crate, and it uses nothing of Nextscale.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod atomic_file;
pub mod bounded;
pub mod checksum;
pub mod curl;
pub mod path_text;
