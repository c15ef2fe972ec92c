//! The progress of a training run: a bar on a terminal, else a line now and then.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nextscale_train::TrainEvent;
use nextscale_var_core::train::LogLine;

use crate::{bar, memory};

/// Shows the events of a run on standard error.
pub(super) struct Console {
    bar: Option<ProgressBar>,
    /// The bar of what is encoded before training.
    encoding: Option<ProgressBar>,
    started: Instant,
    /// Progress at the first line, after a resume.
    first: Option<f64>,
    printed: Option<Instant>,
}

/// Time between two lines when the output is not a terminal.
const QUIET: Duration = Duration::from_secs(15);
/// Ticks of a full bar.
const TICKS: u64 = 1000;

impl Console {
    /// A console for a run that starts now.
    pub(super) fn new() -> Self {
        Self {
            bar: None,
            encoding: None,
            started: Instant::now(),
            first: None,
            printed: None,
        }
    }

    /// Shows an event.
    pub(super) fn show(&mut self, event: TrainEvent<'_>) {
        match event {
            TrainEvent::LearningVocabulary => {
                eprintln!("learning the vocabulary from the captions");
            }
            TrainEvent::Parameters(count) => eprintln!("{count} parameters"),
            TrainEvent::Resuming(step) => eprintln!("resuming at step {step}"),
            TrainEvent::Notice(text) => eprintln!("note: {text}"),
            TrainEvent::Memory(told) => eprintln!("memory: {told}"),
            TrainEvent::Encoding { what, done, all } => self.show_encoding(what, done, all),
            TrainEvent::Sheet(path) => self.say(&format!("samples: {}", path.display())),
            TrainEvent::Logged(line) => self.show_line(line),
        }
    }

    /// Prints a line, above the bar if there is one.
    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    fn show_encoding(&mut self, what: &'static str, done: usize, all: usize) {
        let bar = self.encoding.get_or_insert_with(|| bar::items("encoding"));
        bar.set_message(what);
        bar::show(bar, done, all);
        if done == all {
            bar.finish_and_clear();
            self.encoding = None;
            eprintln!("encoded {all} {what}");
        }
    }

    fn show_line(&mut self, line: &LogLine) {
        let first = *self.first.get_or_insert_with(|| {
            self.bar = std::io::stderr().is_terminal().then(run_bar);
            self.started = Instant::now();
            line.progress
        });
        let text = self.text(line, first);
        if let Some(bar) = &self.bar {
            bar.set_position((line.progress * TICKS as f64) as u64);
            bar.set_message(text);
            return;
        }
        let is_measured = |name: &str| name == "psnr" || name == "held_out_loss";
        let evaluated = line.parts.0.iter().any(|(name, _)| is_measured(name));
        let due = self.printed.is_none_or(|at| at.elapsed() > QUIET);
        if due || evaluated || line.progress >= 1.0 {
            self.printed = Some(Instant::now());
            eprintln!("{:5.1} % {text}", line.progress * 100.0);
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
        let left = if done > 0.0 {
            let seconds = (1.0 - line.progress) * self.started.elapsed().as_secs_f64() / done;
            format!(", {} left", clock(seconds))
        } else {
            String::new()
        };
        format!(
            "step {} loss {:.4}{parts} lr {:.1e} norm {:.2}, {:.1}/s{}, {}{left}",
            line.step,
            line.loss,
            line.learning_rate,
            line.gradient_norm,
            line.examples_per_second,
            memory::resident()
                .map_or_else(String::new, |bytes| format!(", {}", memory::text(bytes))),
            clock(line.seconds),
        )
    }

    /// Leaves the bar where it is.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn run_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {percent}% {msg}");
    ProgressBar::new(TICKS).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.min(1e7) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
