//! What a server may do, and how much of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use nextscale_models::device::{DeviceChoice, Dtype};

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
    /// Models that may be asked for; the first is taken where none is.
    pub models: Vec<String>,
    /// Folder in which files of released models are looked for first.
    pub models_dir: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Number type of the weights.
    pub dtype: Dtype,
    /// Jobs that wait; more are refused.
    pub waiting: usize,
    /// Images of one request.
    pub images: usize,
    /// Bytes of a request.
    pub body: usize,
    /// Bytes of weights that stay loaded.
    pub weights: u64,
}

impl Options {
    /// The defaults, with images in a folder: 127.0.0.1:7860, the embedded model, 64 waiting jobs, 8 images a request.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, PORT).into(),
            api_key: None,
            hosts: vec![],
            folder: folder.into(),
            models: vec![nextscale_models::DEFAULT.to_owned()],
            models_dir: None,
            device: DeviceChoice::Auto,
            dtype: Dtype::Auto,
            waiting: 64,
            images: 8,
            body: 32 << 20,
            weights: 16 << 30,
        }
    }
}
