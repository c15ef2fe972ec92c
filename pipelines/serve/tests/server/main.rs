//! A server as its clients see it.

mod end;
mod native;
mod openai;
mod refusals;
mod running;
mod sdapi;
mod shared;
mod videos;
