//! What a person sees of a run, and how they stop it.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nextscale_var_core::train::LogLine;

/// A progress bar on a terminal, else a line now and then.
pub struct Console {
    bar: Option<ProgressBar>,
    started: Instant,
    first: Option<f64>,
    printed: Option<Instant>,
}

/// Time between two lines when the output is not a terminal.
const QUIET: Duration = Duration::from_secs(15);
/// Ticks of a full bar.
const TICKS: u64 = 1000;

impl Console {
    /// A console for a run that starts now.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(TICKS);
            let style = ProgressStyle::with_template("{wide_bar} {percent}% {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            started: Instant::now(),
            first: None,
            printed: None,
        }
    }

    /// Shows a line of the log.
    pub fn show(&mut self, line: &LogLine) {
        let first = *self.first.get_or_insert(line.progress);
        let text = self.text(line, first);
        match &self.bar {
            Some(bar) => {
                bar.set_position((line.progress * TICKS as f64) as u64);
                bar.set_message(text);
            }
            None => {
                let due = self.printed.is_none_or(|at| at.elapsed() > QUIET);
                if due
                    || line.progress >= 1.0
                    || line.parts.0.iter().any(|(name, _)| name == "psnr")
                {
                    self.printed = Some(Instant::now());
                    eprintln!("{:5.1} % {text}", line.progress * 100.0);
                }
            }
        }
    }

    fn text(&self, line: &LogLine, first: f64) -> String {
        let parts: String = line
            .parts
            .0
            .iter()
            .filter(|(name, _)| !name.contains('.')) // details are for the log
            .map(|(name, value)| format!(" {name} {value:.4}"))
            .collect();
        let done = line.progress - first;
        let left = (1.0 - line.progress) * self.started.elapsed().as_secs_f64() / done.max(1e-9);
        let left = match done > 0.0 {
            true => format!(", {} left", clock(left)),
            false => String::new(),
        };
        format!(
            "step {} loss {:.4}{parts} lr {:.1e} norm {:.2}, {:.1}/s, {}{left}",
            line.step,
            line.loss,
            line.learning_rate,
            line.gradient_norm,
            line.examples_per_second,
            clock(line.seconds),
        )
    }

    /// Leaves the bar where it is.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.min(1e7) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// A flag that is set by the first interrupt or termination signal; the second one ends the
/// process at once.
///
/// # Errors
/// When the system refuses a handler.
pub fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                signal().await;
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
                eprintln!("stopping after this step; interrupt again to stop at once");
            }
        });
    });
    Ok(stop)
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => (),
        _ = term.recv() => (),
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
