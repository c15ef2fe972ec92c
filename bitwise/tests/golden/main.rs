//! Parity with the released code, on the fixtures in the folder that `NEXTSCALE_GOLDEN` names.
//!
//! Without that variable the tests pass without looking at anything, and say so.

mod fixture;
mod generation;
mod tokenizer;
mod training;
mod transformer;
