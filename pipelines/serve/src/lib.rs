//! A server that generates images: one queue, one painter, models that stay loaded.
//!
//! Every request becomes a pipeline, the same that the command line runs, and waits in a bounded queue that is fair between
//! clients and outlives the server: SQLite, or a PostgreSQL that several servers share. The painter takes one after the other, those of one
//! model and size together, and keeps models loaded. What a job has done so far is a list of updates, with an image after every scale,
//! which any number of clients may follow.
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

mod adapters;
mod app;
mod client;
mod clock;
mod counters;
mod error;
mod family;
mod follower;
mod generate;
mod guard;
mod job;
mod known_jobs;
mod label;
mod models;
mod options;
mod painter;
mod pictures;
mod refusal;
mod request;
mod routes;
mod server;
mod settings_of;
mod store;
mod update;
mod uploads;

pub use error::ServeError;
pub use options::Options;
pub use server::Server;
