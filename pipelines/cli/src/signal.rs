//! Ctrl-C and requests to end.

use nextscale_pipelines::stage::Cancel;

/// The first Ctrl-C lets the scale in work come to its end; the second does not wait.
pub(super) async fn stop_on_ctrl_c(cancel: Cancel) {
    while stop_signal().await {
        if cancel.is_cancelled() {
            std::process::exit(130);
        }
        cancel.cancel();
    }
}

/// Waits for Ctrl-C, or for a polite request to end from elsewhere.
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
