//! The `nextscale` command: one file per subcommand.

mod bar;
mod bench;
mod command;
mod convert;
mod data;
mod edit;
mod eval;
mod generate;
mod huge_pages;
mod image_options;
mod info;
mod metadata;
mod models;
mod options;
mod output;
mod panic;
mod progress;
mod run;
mod settings;
mod signal;
mod train;
mod variation;
mod video;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: huge_pages::HugePages = huge_pages::HugePages;

fn main() -> ExitCode {
    panic::guarded(command::main)
}
