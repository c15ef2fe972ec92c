//! Listening, and the end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use nextscale_models::search::SearchPath;
use nextscale_models::{Model, device};
use nextscale_pipelines::PipelineError;
use tokio::net::TcpListener;

use crate::app::App;
use crate::error::ServeError;
use crate::options::Options;
use crate::painter;
use crate::routes;

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

impl Server {
    /// Opens the address and the folder; no model is loaded.
    ///
    /// # Errors
    /// An address that others can reach without a key, one that is taken, a folder that cannot be written to, a device or a model that is not there.
    pub async fn bind(mut options: Options) -> Result<Self, ServeError> {
        let address = options.address;
        if !address.ip().is_loopback() && options.api_key.is_none() {
            return Err(ServeError::Open { address });
        }
        device::open(options.device).map_err(PipelineError::from)?;
        let search_path = SearchPath::new(options.models_dir.as_deref());
        for name in &options.models {
            Model::open_in(name, &search_path).map_err(PipelineError::from)?;
        }
        let folder = options.folder.clone();
        let absolute = std::fs::create_dir_all(&folder).and_then(|()| folder.canonicalize());
        options.folder = absolute.map_err(|cause| ServeError::Folder { folder, cause })?;
        let failed = |cause| ServeError::Listen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        options.address = address;
        Ok(Self {
            listener,
            address,
            app: Arc::new(App::new(options)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready. Then what waits is stopped, what runs ends with its scale, and who asked is told.
    ///
    /// # Errors
    /// A listener that the system closes.
    pub async fn run(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let painter = tokio::spawn(painter::paint(Arc::clone(&self.app)));
        let router = routes::router(&self.app).into_make_service_with_connect_info::<SocketAddr>();
        let app = Arc::clone(&self.app);
        let stop = async move {
            stop.await;
            app.close();
        };
        let served = axum::serve(self.listener, router).with_graceful_shutdown(stop);
        let served = served.await;
        painter.abort();
        let address = self.address;
        served.map_err(|cause| ServeError::Listen { address, cause })
    }
}
