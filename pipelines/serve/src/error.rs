//! Why a server does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use nextscale_pipelines::PipelineError;
use thiserror::Error;

/// Why a server does not start, or ends.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Other machines could reach it, and nothing says who may.
    #[error("{address} can be reached from other machines: give --api-key, or listen on 127.0.0.1")]
    Open {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// The address cannot be used.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The folder of images cannot be used.
    #[error("cannot write to `{}`: {cause}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The database of the jobs cannot be used.
    #[error("the store of jobs cannot be opened: {cause}; --store takes postgres://USER@HOST/NAME")]
    Store {
        /// What the database said.
        cause: sqlx::Error,
    },
    /// The object store of the images cannot be used.
    #[error(
        "the store of images `{address}` cannot be used: {cause}; --pictures takes s3://BUCKET/FOLDER"
    )]
    Pictures {
        /// Its address.
        address: String,
        /// What is wrong.
        cause: String,
    },
    /// Another server has the folder.
    #[error("another server uses `{}`: give another --output, or one --store postgres://… for both", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A device or model that is not there.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}
