//! What a server may do, and how much of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use nextscale_models::device::{DeviceChoice, Dtype};
use nextscale_models::{DEFAULT, EDITS, LoraChoice, SPRITES};

/// Where a server listens unless it is told otherwise.
const PORT: u16 = 7860;

/// What a server may do, and how much of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub address: SocketAddr,
    /// What clients send as a bearer token. Needed where other machines reach the address.
    pub api_key: Option<String>,
    /// Names besides its address by which clients reach it.
    pub hosts: Vec<String>,
    /// Where images are written, a folder for each job.
    pub folder: PathBuf,
    /// A PostgreSQL that several servers share, as `postgres://USER@HOST/NAME`. By default jobs are in a file of SQLite in the folder.
    pub store: Option<String>,
    /// An object store that servers without a common file system share, as `s3://BUCKET/FOLDER`: images and uploads are copied there.
    pub pictures: Option<String>,
    /// Models that may be asked for; the first is taken where none is.
    pub models: Vec<String>,
    /// Folder in which files of released models are looked for first.
    pub models_dir: Option<PathBuf>,
    /// Low-rank adapters that requests may name, by the names of their files without ending; the weight is that of a request that names
    /// none.
    pub loras: Vec<LoraChoice>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the weights.
    pub dtype: Dtype,
    /// Jobs that wait; more are refused.
    pub waiting: usize,
    /// Images that are painted together, if they wait together and are of one model and size.
    pub batch: usize,
    /// How long a job may run.
    pub time: Duration,
    /// Images of one request.
    pub images: usize,
    /// Bytes of a request.
    pub body: usize,
    /// Bytes of weights that stay loaded.
    pub weights: u64,
}

impl Options {
    /// The defaults, with images in a folder: 127.0.0.1:7860, the embedded models, 64 waiting jobs, 8 images a request, an hour a job.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, PORT).into(),
            api_key: None,
            hosts: vec![],
            folder: folder.into(),
            store: None,
            pictures: None,
            models: [DEFAULT, SPRITES, EDITS].map(str::to_owned).into(),
            models_dir: None,
            loras: vec![],
            device: DeviceChoice::Auto,
            dtype: Dtype::Auto,
            waiting: 64,
            batch: 8,
            time: Duration::from_secs(3600),
            images: 8,
            body: 32 << 20,
            weights: 16 << 30,
        }
    }
}
