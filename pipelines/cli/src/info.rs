//! Subcommands that only print.

use nextscale_models::device::{Cuda, cpu_features, cuda};
use nextscale_pipelines::registry::Registry;

/// `nextscale schema`.
pub(super) fn schema() -> anyhow::Result<()> {
    let schema = nextscale_pipelines::schema::schema(&Registry::builtin());
    crate::output::print(&serde_json::to_string_pretty(&schema)?)
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
    crate::output::print(&format!("cpu   {cores}, {}\ncuda  {cuda}", cpu_features()))
}
