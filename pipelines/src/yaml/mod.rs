//! YAML as a tree in which every value knows where it was written.
//!
//! A pipeline is read into this tree first, then the options of the command line are put into it, and only then does serde
//! read it: so an error in a value names its line, whether a built-in or a custom stage asked for it.

mod de;
mod node;
mod parse;

pub use node::{Entry, Node, Value};

#[cfg(test)]
mod tests;
