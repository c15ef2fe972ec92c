//! Ctrl-C and termination requests.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Builder, Runtime};

/// Whether a runtime awaits signals.
static AWAITED: AtomicBool = AtomicBool::new(false);

/// Gives process 1, as in a container, the default action that the system takes for all other processes: until a runtime
/// awaits Ctrl-C and termination requests, they end it.
pub(crate) fn heed_as_process_1() {
    #[cfg(unix)]
    if std::process::id() == 1 {
        extern "C" fn end(_: libc::c_int) {
            if !AWAITED.load(Ordering::Relaxed) {
                // SAFETY: _exit(2) may be called in a signal handler.
                unsafe { libc::_exit(130) };
            }
        }
        let end = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
        for signal in [libc::SIGINT, libc::SIGTERM] {
            // SAFETY: the handler does nothing but what a handler may.
            unsafe { libc::signal(signal, end) };
        }
    }
}

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
pub(crate) async fn stop_signal() -> bool {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            AWAITED.store(true, Ordering::Relaxed);
            return tokio::select! {
                pressed = tokio::signal::ctrl_c() => pressed.is_ok(),
                sent = terminate.recv() => sent.is_some(),
            };
        }
    }
    tokio::signal::ctrl_c().await.is_ok()
}
