//! The summary of a run in a few lines.

use crate::log::Log;
use crate::number::{duration, grouped, number, percent};
use crate::options::X;

/// By how much of its best value a held-out loss must be above it to count as risen.
const RISEN: f64 = 0.01;

/// A few plain lines for the end of a run: its length, how its losses went, and whether the held-out loss rises. What the
/// log lacks is left out.
pub fn summary(log: &Log) -> String {
    let held_out = log.series("held_out_loss");
    let lines = [
        Some(length(log)),
        loss(&log.series("loss")),
        held_out_loss(&held_out),
        largest(&log.series("held_out_right")).map(|(step, right)| {
            format!(
                "held-out share right: best {} at step {}",
                percent(right),
                grouped(step)
            )
        }),
        largest(&log.series("psnr")).map(|(step, psnr)| {
            format!(
                "held-out PSNR: best {} dB at step {}",
                number(psnr),
                grouped(step)
            )
        }),
        largest(&log.series("gradient_norm")).map(|(step, norm)| {
            format!(
                "gradient norm: largest {} at step {}",
                number(norm),
                grouped(step)
            )
        }),
        risen_since(&held_out).map(|step| {
            format!(
                "the held-out loss has risen since step {}: earlier checkpoints may be better",
                grouped(step)
            )
        }),
    ];
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    lines.join("\n")
}

/// Steps, time, examples and their rate.
fn length(log: &Log) -> String {
    let last = |x| log.positions(x).into_iter().flatten().next_back();
    let steps = last(X::Steps).unwrap_or(0.0);
    let mut text = format!("{}: {} steps", log.name, grouped(steps));
    let seconds = last(X::Seconds);
    if let Some(seconds) = seconds {
        text += &format!(" in {}", duration(seconds));
    }
    if let Some(examples) = last(X::Examples) {
        text += &format!(", {} examples", grouped(examples));
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) {
            text += &format!(", {} examples a second", number(examples / seconds));
        }
    }
    text
}

/// The loss at both ends of the run.
fn loss(points: &[(f64, f64)]) -> Option<String> {
    let window = (points.len() / 20).max(1);
    let mean = |points: &[(f64, f64)]| {
        points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64
    };
    let first = mean(points.get(..window)?);
    let last = mean(&points[points.len() - window..]);
    let means = match window {
        1 => String::new(),
        _ => format!(" (means of {window} lines)"),
    };
    Some(format!(
        "loss: {} at first, {} at last{means}",
        number(first),
        number(last)
    ))
}

fn held_out_loss(points: &[(f64, f64)]) -> Option<String> {
    let (best_step, best) = smallest(points)?;
    let (step, last) = points.last()?;
    Some(format!(
        "held-out loss: best {} at step {}, last {} at step {}",
        number(best),
        grouped(best_step),
        number(*last),
        grouped(*step)
    ))
}

/// The step of the best held-out loss, if the last two are clearly above it.
fn risen_since(points: &[(f64, f64)]) -> Option<f64> {
    let (step, best) = smallest(points)?;
    let after = points.iter().filter(|point| point.0 > step);
    let last: Vec<f64> = after.rev().take(2).map(|point| point.1).collect();
    let limit = best + RISEN * best.abs();
    (last.len() == 2 && last.iter().all(|loss| *loss > limit)).then_some(step)
}

fn smallest(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    points.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))
}

/// The first of the largest.
fn largest(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    points.iter().copied().min_by(|a, b| b.1.total_cmp(&a.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(held_out: &[f64]) -> Log {
        let line = |i: usize| {
            let step = 10.0 * (i + 1) as f64;
            let mut line = vec![
                ("step", step),
                ("loss", 1.0 - step / 1000.0),
                ("gradient_norm", if i == 3 { 7.5 } else { 1.0 }),
                ("examples_per_second", 40.0),
                ("seconds", step),
            ];
            if let Some(loss) = (i % 10 == 9).then(|| held_out.get(i / 10)).flatten() {
                line.extend([
                    ("held_out_loss", *loss),
                    ("held_out_right", 0.9 - loss / 10.0),
                    ("psnr", 20.0 + step / 100.0),
                ]);
            }
            line.into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()
        };
        Log {
            name: "icons".to_owned(),
            lines: (0..40).map(line).collect(),
            skipped_lines: 0,
            skipped_values: 0,
        }
    }

    #[test]
    fn a_run_in_a_few_lines() {
        assert_eq!(
            summary(&log(&[0.9, 0.7, 0.8, 0.75])),
            "icons: 400 steps in 6 min 40 s, 16 000 examples, 40 examples a second\n\
             loss: 0.985 at first, 0.605 at last (means of 2 lines)\n\
             held-out loss: best 0.7 at step 200, last 0.75 at step 400\n\
             held-out share right: best 83 % at step 200\n\
             held-out PSNR: best 24 dB at step 400\n\
             gradient norm: largest 7.5 at step 40\n\
             the held-out loss has risen since step 200: earlier checkpoints may be better"
        );
    }

    #[test]
    fn only_a_clear_rise_is_named() {
        let rises = |losses: &[f64]| summary(&log(losses)).contains("has risen");
        assert!(rises(&[0.7, 0.8, 0.9, 1.0]));
        assert!(!rises(&[0.9, 0.8, 0.7, 0.9]), "one value may be noise");
        assert!(!rises(&[0.9, 0.7, 0.8, 0.701]), "it is back");
        assert!(!rises(&[0.9, 0.8, 0.7, 0.6]));
        assert!(!rises(&[]));
    }

    #[test]
    fn what_is_not_logged_is_left_out() {
        let mut bare = log(&[]);
        bare.lines
            .iter_mut()
            .for_each(|line| line.retain(|name, _| name == "step"));
        assert_eq!(summary(&bare), "icons: 400 steps");
    }
}
