//! Progress bars on standard error, all in one style; hidden where it is no terminal.

use indicatif::{ProgressBar, ProgressStyle};
use nextscale_data::{OnProgress, Progress};

/// A bar that counts items, such as images.
pub(crate) fn items(label: &'static str) -> ProgressBar {
    styled(label, "{pos}/{len}, {eta} left {msg}")
}

/// A bar that counts bytes.
pub(crate) fn bytes(label: &'static str) -> ProgressBar {
    styled(label, "{bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")
}

fn styled(label: &'static str, counts: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{prefix:>10}} {{bar:30}} {counts}"));
    ProgressBar::no_length()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(label)
}

/// Moves a bar to `done` of `total`.
pub(crate) fn show(bar: &ProgressBar, done: usize, total: usize) {
    bar.set_length(total as u64);
    bar.set_position(done as u64);
}

/// Builds or reads a data set, with a bar.
pub(crate) fn during<T>(work: impl FnOnce(OnProgress<'_>) -> T) -> T {
    let bar = items("");
    let progress = |at: Progress<'_>| {
        bar.set_prefix(at.step.to_owned());
        bar.set_message(at.item.to_owned());
        show(&bar, at.done, at.total);
    };
    let done = work(&progress);
    bar.finish_and_clear();
    done
}
