//! Progress bars and the table of timings, fed by the events of a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use nextscale_pipelines::artifact::{Artifact, Step};
use nextscale_pipelines::stage::{Event, Observer};

use crate::output::escaped;
use crate::{bar, ranks};

/// Shows a run on standard error: progress bars on a terminal, file names anywhere. Of several processes, all show the names of their
/// files and what concerns their samples; the rest is shown by the first one.
pub(super) struct Progress {
    state: Arc<Mutex<State>>,
    timings: bool,
}

struct State {
    /// Whether this process speaks for all.
    is_first: bool,
    /// Whether something was loaded: from then on, warnings are about samples and not about the run.
    has_begun: bool,
    bars: MultiProgress,
    loading: BTreeMap<String, ProgressBar>,
    scales: Option<ProgressBar>,
    images: Option<ProgressBar>,
    table: Table,
    start: Instant,
}

/// Times by row, in the order in which the rows first appeared.
#[derive(Default)]
struct Table(Vec<(String, Vec<Duration>)>);

impl Table {
    fn add(&mut self, row: String, took: Duration) {
        match self.0.iter_mut().find(|(name, _)| *name == row) {
            Some((_, times)) => times.push(took),
            None => self.0.push((row, vec![took])),
        }
    }

    fn render(&self, total: Duration) -> String {
        let names = self.0.iter().map(|(name, _)| name.len());
        let width = names.max().unwrap_or(0).max(5);
        let mut text = format!("{:<width$}  count   mean s  total s", "part");
        for (name, times) in &self.0 {
            let sum = times.iter().sum::<Duration>().as_secs_f64();
            let (count, mean) = (times.len(), sum / times.len() as f64);
            text += &format!("\n{name:<width$}  {count:>5}  {mean:>7.3}  {sum:>7.3}");
        }
        text + &format!(
            "\n{:<width$}  {:>5}  {:>7}  {:>7.3}",
            "wall",
            "",
            "",
            total.as_secs_f64()
        )
    }
}

impl Progress {
    pub(super) fn new(timings: bool, is_first: bool) -> Self {
        let bars = MultiProgress::new();
        if !is_first {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let timings = timings && is_first;
        let state = State {
            is_first,
            has_begun: false,
            bars,
            loading: BTreeMap::new(),
            scales: None,
            images: None,
            table: Table::default(),
            start: Instant::now(),
        };
        let state = Arc::new(Mutex::new(state));
        Self { state, timings }
    }

    pub(super) fn observer(&self) -> Observer {
        let state = self.state.clone();
        Arc::new(move |event| {
            state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .show(event)
        })
    }

    /// Removes the bars and prints the table of timings if it was asked for.
    pub(super) fn finish(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A terminal that is gone cannot be cleared.
        let _ = state.bars.clear();
        if self.timings {
            eprintln!("{}", state.table.render(state.start.elapsed()));
        }
    }
}

impl State {
    fn show(&mut self, event: Event) {
        match event {
            Event::Loading { stage } => {
                self.has_begun = true;
                if self.loading.contains_key(&stage) {
                    return; // on another device too
                }
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_message(format!("loading {stage}"));
                bar.enable_steady_tick(Duration::from_millis(100));
                self.loading.insert(stage, bar);
            }
            Event::Loaded { stage, took } => {
                if let Some(bar) = self.loading.remove(&stage) {
                    bar.finish_and_clear();
                }
                self.table.add(format!("load {stage}"), took);
            }
            Event::Scale {
                stage,
                sample,
                step,
                note,
                took,
                ..
            } => {
                let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
                self.table
                    .add(format!("{stage} scale {}{note}", step.scale), took);
                self.scale(step);
                if sample.total > 1 {
                    self.image(sample.index, sample.total);
                }
            }
            Event::Preview { .. } => {}
            Event::Done { stage, took, .. } => self.table.add(stage, took),
            Event::Warning { message } => {
                let message = escaped(&message);
                if self.is_first || self.has_begun {
                    let rank = ranks::prefix();
                    self.bars.suspend(|| eprintln!("{rank}warning: {message}"));
                }
            }
            Event::Output { message, .. } => {
                if let Artifact::File(path) = message.artifact {
                    self.saved(&path);
                }
            }
        }
    }

    fn scale(&mut self, step: Step) {
        let new = || self.bars.add(bar::items("scale"));
        let bar = self.scales.get_or_insert_with(new);
        if step.scale == 1 {
            bar.reset();
        }
        bar::show(bar, step.scale, step.scales);
    }

    fn image(&mut self, index: usize, total: usize) {
        let new = || self.bars.add(bar::items("image"));
        let bar = self.images.get_or_insert_with(new);
        // Several devices are at different samples.
        let most = usize::try_from(bar.position()).map_or(index, |last| last.max(index));
        bar::show(bar, most, total);
    }

    fn saved(&self, path: &Path) {
        // `MultiProgress::println` prints nothing without a terminal.
        self.bars.suspend(|| eprintln!("{}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_adds_up() {
        let mut table = Table::default();
        table.add("text".into(), Duration::from_millis(100));
        table.add("text".into(), Duration::from_millis(300));
        let text = table.render(Duration::from_secs(1));
        assert!(text.contains("text       2    0.200    0.400"), "{text}");
        assert!(text.ends_with("1.000"), "{text}");
    }
}
