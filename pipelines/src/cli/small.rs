//! Subcommands that only print.

use std::io::Write;

use crate::device::{Cuda, cpu_features, cuda};
use crate::registry::Registry;

/// `nextscale schema`.
pub(super) fn schema() -> anyhow::Result<()> {
    let schema = crate::schema::schema(&Registry::builtin());
    print(&serde_json::to_string_pretty(&schema)?)
}

/// `nextscale devices`.
pub(super) fn devices() -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = if cores == 1 {
        "1 core".to_owned()
    } else {
        format!("{cores} cores")
    };
    let cuda = match cuda() {
        Cuda::Cards(1) => "1 card".to_owned(),
        Cuda::Cards(n) => format!("{n} cards (the first is used)"),
        missing => format!("none: {}", missing.missing().unwrap_or_default()),
    };
    print(&format!("cpu   {cores}, {}\ncuda  {cuda}", cpu_features()))
}

/// To standard output; a reader that has gone, such as `head`, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
