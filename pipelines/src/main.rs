//! The `nextscale` command. Everything it does lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    nextscale_pipelines::cli::main()
}
