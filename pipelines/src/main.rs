//! The `nextscale` command. Everything it does lives in the library.

mod pages;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: pages::Pages = pages::Pages;

fn main() -> ExitCode {
    nextscale_pipelines::cli::main()
}
