//! Ctrl-C and termination requests.

use tokio::runtime::{Builder, Runtime};

/// The runtime of a command. The first Ctrl-C or termination request calls `stop`, so that the work can end in order; the
/// second one ends the process.
pub(crate) fn runtime(stop: impl Fn() + Send + Sync + 'static) -> std::io::Result<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build()?;
    runtime.spawn(async move {
        if stop_signal().await {
            stop();
        }
        if stop_signal().await {
            std::process::exit(130);
        }
    });
    Ok(runtime)
}

/// Waits for Ctrl-C or a termination request; `false` if neither can be waited for.
async fn stop_signal() -> bool {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                pressed = tokio::signal::ctrl_c() => pressed.is_ok(),
                sent = terminate.recv() => sent.is_some(),
            };
        }
    }
    tokio::signal::ctrl_c().await.is_ok()
}
