//! NCCL between processes that have a CUDA card each: what they send lies on the cards and stays there.
//!
//! NCCL works on a stream of its own. The tensor library does not show its streams, so an operation waits for the card twice: until the
//! numbers of this process are there, and until those of the others are.

mod card;
mod library;
mod line;
mod meet;
mod world;

pub(crate) use self::meet::connect;
