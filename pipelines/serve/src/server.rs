//! Listening, and the end.

use std::convert::Infallible;
use std::fs::File;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use nextscale_models::device;
use nextscale_models::search::SearchPath;
use nextscale_pipelines::PipelineError;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::adapters::AdapterInfo;
use crate::app::App;
use crate::error::ServeError;
use crate::models::ModelInfo;
use crate::options::Options;
use crate::painter;
use crate::pictures::Pictures;
use crate::routes;
use crate::store::Store;

/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(20);
/// Connections at the same time; more wait.
const CONNECTIONS: usize = 1024;
/// How long clients are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    /// Held as long as no other server may use the folder.
    _lock: Option<File>,
}

impl Server {
    /// Opens the address, the folder and the jobs in it; no model is loaded.
    ///
    /// # Errors
    /// An address that others can reach without a key, one that is taken, a folder that cannot be written to or is in use, a database that does
    /// not answer, a device or a model that is not there.
    pub async fn bind(mut options: Options) -> Result<Self, ServeError> {
        let address = options.address;
        if !address.ip().is_loopback() && options.api_key.is_none() {
            return Err(ServeError::Open { address });
        }
        device::open(options.device).map_err(PipelineError::from)?;
        let search_path = SearchPath::new(options.models_dir.as_deref());
        let models = options
            .models
            .iter()
            .map(|name| ModelInfo::open(name, &search_path))
            .collect::<Result<Vec<_>, _>>()
            .map_err(PipelineError::from)?;
        let adapters = AdapterInfo::open_all(&options.loras, &options.models, &search_path);
        let adapters = adapters.map_err(PipelineError::from)?;
        let folder = options.folder.clone();
        let absolute = std::fs::create_dir_all(&folder).and_then(|()| folder.canonicalize());
        options.folder = absolute.map_err(|cause| ServeError::Folder { folder, cause })?;
        let lock = match options.store {
            None => Some(lock(&options.folder)?),
            Some(_) => None,
        };
        let pictures = Pictures::open(&options.folder, options.pictures.as_deref())?;
        let store = Store::open(&options.folder, options.store.as_deref()).await?;
        if lock.is_some() {
            painter::sweep(&options.folder);
        }
        let taken = store.take_over().await;
        taken.map_err(|cause| ServeError::Store { cause })?;
        let failed = |cause| ServeError::Listen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        options.address = address;
        Ok(Self {
            listener,
            address,
            app: Arc::new(App::new(options, store, pictures, models, adapters)),
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready. Then what runs ends with its scale, who follows it is told, and the queue stays for the next start.
    ///
    /// # Errors
    /// A database that does not answer at the end.
    pub async fn run(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let app = &self.app;
        let painter = tokio::spawn(painter::paint(Arc::clone(app)));
        let follower = tokio::spawn(painter::follow(Arc::clone(app)));
        let connections = GracefulShutdown::new();
        tokio::select! {
            () = accept(&self.listener, routes::router(app), &connections) => {}
            () = stop => {}
        }
        drop(self.listener);
        app.close();
        let _ = tokio::time::timeout(FAREWELL, connections.shutdown()).await;
        let _ = painter.await;
        follower.abort();
        let given_back = app.store.give_back().await;
        app.store.close().await;
        given_back.map_err(|cause| ServeError::Store { cause })
    }
}

/// Keeps other servers from using a folder. The system gives it free when the process ends, however that is.
fn lock(folder: &Path) -> Result<File, ServeError> {
    let name = folder.join(".lock");
    let failed = |cause| ServeError::Folder {
        folder: folder.to_owned(),
        cause,
    };
    let file = File::create(name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(ServeError::InUse {
            folder: folder.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// Serves every connection in a task of its own, for ever.
async fn accept(listener: &TcpListener, router: Router, connections: &GracefulShutdown) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as too many open files: others end, and there is room again.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = connection(stream, peer, router.clone());
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A client that goes away is no fault.
            let _ = connection.await;
            drop(place);
        });
    }
}

/// The work of one connection.
fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl Service<
        Request<Incoming>,
        Response = axum::response::Response,
        Error = Infallible,
        Future: Send,
    >,
> {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
}
