//! The `nextscale` command: one file a subcommand.

mod bar;
mod bench;
mod command;
mod convert;
mod data;
mod edit;
mod eval;
mod generate;
mod huge_pages;
mod info;
mod metadata;
mod models;
mod options;
mod output;
mod progress;
mod run;
mod signal;
mod video;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: huge_pages::Pages = huge_pages::Pages;

fn main() -> ExitCode {
    command::main()
}
