//! Subcommands that only print.

use nextscale_models::device::cuda::{self, Cuda};
use nextscale_models::device::gpu::{self, Gpus};
use nextscale_models::device::{NO_LIBDEVICE, cpu_features, cpu_kernels, toolkit};
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
    let mut lines = vec![
        format!("cpu     {cores}, {}", cpu_features()),
        format!("        multiplies {}", cpu_kernels()),
    ];
    match cuda::find() {
        Cuda::Cards(cards) => {
            let cards = cards.iter().enumerate();
            lines.extend(cards.map(|(number, card)| format!("cuda:{number}  {card}")));
            lines.push(match toolkit() {
                Some(path) => format!("        kernels are linked with {}", path.display()),
                None => format!("        {}", NO_LIBDEVICE),
            });
        }
        missing => lines.push(format!(
            "cuda    none: {}",
            missing.missing().unwrap_or_default()
        )),
    }
    match gpu::find() {
        Gpus::Found(gpus) => {
            let gpus = gpus.iter().enumerate();
            lines.extend(gpus.map(|(number, gpu)| format!("gpu:{number}   {gpu}")));
        }
        missing => lines.push(format!(
            "gpu     none: {}",
            missing.missing().unwrap_or_default()
        )),
    }
    crate::output::print(&lines.join("\n"))
}
