//! A server that generates images: one queue, one painter, models that stay loaded.
//!
//! Every request becomes a pipeline, the same that the command line runs, and waits in a bounded queue that is fair between
//! clients. The painter runs one after the other and shares loaded models between them. What a job has done so far is a list of
//! events, with an image after every scale, which any number of clients may follow.
//!
//! ```no_run
//! use nextscale_serve::{Options, Server};
//!
//! # async fn run() -> Result<(), nextscale_serve::ServeError> {
//! let server = Server::bind(Options::in_folder("gallery")).await?;
//! println!("http://{}", server.address());
//! server.run(std::future::pending()).await
//! # }
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod app;
mod client;
mod error;
mod guard;
mod job;
mod options;
mod painter;
mod queue;
mod refusal;
mod request;
mod routes;
mod server;

pub use error::ServeError;
pub use options::Options;
pub use server::Server;
