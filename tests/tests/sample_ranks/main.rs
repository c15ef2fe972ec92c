//! An image or a video on several ranks, which share the halves of a guided batch and the tokens of each: the same bits as in one
//! process.

mod counting;
mod infinity;
mod infinity_star;
mod paper;
mod run;
mod var;
