//! `nextscale serve`: a server for images.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use nextscale_models::LoraChoice;
use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_pipelines::PipelineError;
use nextscale_serve::{Options, ServeError, Server};

use crate::options::choice;
use crate::{output, signal};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7860")]
    listen: SocketAddr,
    /// What clients send as `Authorization: Bearer KEY`; needed where other machines reach the address. The variable
    /// NEXTSCALE_API_KEY keeps it out of the list of processes
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// A name besides its address by which clients reach the server; repeat for more
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Folder for the images
    #[arg(short, long, value_name = "DIR", default_value = "gallery")]
    output: PathBuf,
    /// A PostgreSQL that several servers share: postgres://USER@HOST/NAME. By default jobs are in a file in the folder
    #[arg(long, value_name = "ADDRESS")]
    store: Option<String>,
    /// An object store for images and uploads, for servers without a common file system: s3://BUCKET/FOLDER. The usual AWS_… variables say
    /// how it is reached
    #[arg(long, value_name = "ADDRESS")]
    pictures: Option<String>,
    /// A model that may be asked for; repeat for more. The first is taken where none is named [default: the models inside the program]
    #[arg(short, long, value_name = "NAME|PATH")]
    model: Vec<String>,
    /// Folder in which files of released models are looked for first
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// A low-rank adapter (LoRA) that requests may name, by the name of its file; repeat for more. The weight is that of a request that
    /// names none
    #[arg(long, value_name = "FILE[:WEIGHT]")]
    lora: Vec<LoraChoice>,
    /// Compute device: auto, cpu, cuda or gpu, or cuda:N or gpu:N for the one of number N
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// Number type of the weights
    #[arg(long, value_parser = choice::<Dtype>())]
    dtype: Option<Dtype>,
    /// Jobs that may wait; more are refused with code 503
    #[arg(long, value_name = "N", default_value_t = 64)]
    queue: usize,
    /// Images that are painted together, if they wait together and are of one model and size
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
    /// Minutes that a job may run
    #[arg(long, value_name = "MINUTES", default_value_t = 60.0)]
    minutes: f64,
    /// Images that one request may ask for
    #[arg(long, value_name = "N", default_value_t = 8)]
    images: usize,
    /// Gibibytes of weights that stay loaded
    #[arg(long, value_name = "GIB", default_value_t = 16.0)]
    keep: f64,
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let defaults = Options::in_folder(args.output);
    let own = Some(args.model).filter(|models| !models.is_empty());
    let options = Options {
        address: args.listen,
        api_key: args
            .api_key
            .or_else(|| std::env::var("NEXTSCALE_API_KEY").ok()),
        hosts: args.host,
        models: own.unwrap_or(defaults.models),
        store: args.store.or_else(|| std::env::var("NEXTSCALE_STORE").ok()),
        pictures: args.pictures,
        batch: args.batch,
        time: Duration::try_from_secs_f64(args.minutes * 60.0)
            .map_err(|_| PipelineError::refused("--minutes takes a number above 0"))?,
        models_dir: args.models_dir,
        loras: args.lora,
        device: args.device.unwrap_or_default(),
        dtype: args.dtype.unwrap_or_default(),
        waiting: args.queue,
        images: args.images,
        weights: (args.keep.max(0.0) * f64::from(1 << 30)) as u64,
        ..defaults
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let server = Server::bind(options).await.map_err(with_hint)?;
        output::print(&format!("http://{}", server.address()))?;
        let stop = async {
            // Without signals the server runs until it is killed.
            if !signal::stop_signal().await {
                std::future::pending::<()>().await;
            }
            tokio::spawn(async {
                if signal::stop_signal().await {
                    std::process::exit(130);
                }
            });
        };
        Ok(server.run(stop).await?)
    })
}

/// An error of a model keeps its way out.
fn with_hint(error: ServeError) -> anyhow::Error {
    match error {
        ServeError::Pipeline(error) => error.into(),
        error => error.into(),
    }
}
