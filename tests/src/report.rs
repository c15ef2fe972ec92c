//! One line a comparison, and a count at the end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use burn::module::Module;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::{Int, Tensor};

use crate::fixture::Fixture;
use crate::stored::{Stored, read_safetensors};

/// How clearly each bit was decided: the distance between its two logits, or of its value from 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaps {
    /// One distance a bit.
    pub values: Vec<f64>,
    /// A bit with a smaller distance is undecided: rounding may turn it over.
    pub tie: f64,
}

/// How a list of bits compares with the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// All bits are equal.
    Same,
    /// Bits differ, but only where the stored logits are nearly equal.
    Inconclusive,
    /// A bit is wrong.
    Wrong,
}

/// Prints and counts.
#[derive(Debug)]
pub struct Report {
    /// Tolerances are multiplied by it (1 on the CPU).
    factor: f64,
    folder: String,
    passed: usize,
    skipped: usize,
    failed: Vec<String>,
}

impl Report {
    /// A report whose tolerances are `factor` times the stated ones.
    pub fn new(factor: f64) -> Self {
        Self {
            factor,
            folder: String::new(),
            passed: 0,
            skipped: 0,
            failed: Vec::new(),
        }
    }

    /// Names the folder that the next lines are about.
    pub fn enter(&mut self, folder: &str) {
        folder.clone_into(&mut self.folder);
    }

    /// Tensors compared and found good, skipped, and the names of the bad ones.
    pub fn counts(&self) -> (usize, usize, &[String]) {
        (self.passed, self.skipped, &self.failed)
    }

    fn line(&mut self, tensor: &str, error: &str, tolerance: &str, good: bool, note: &str) {
        let status = if good { "ok" } else { "FAIL" };
        println!(
            "PARITY {} {tensor} {error} {tolerance} {status}{note}",
            self.folder
        );
        if good {
            self.passed += 1;
        } else {
            self.failed.push(format!("{} {tensor}", self.folder));
        }
    }

    /// A line for what cannot be compared; never counted as passed.
    pub fn skip(&mut self, tensor: &str, why: &str) {
        println!("PARITY {} {tensor} - - skip {why}", self.folder);
        self.skipped += 1;
    }

    /// A line for what should have worked.
    pub fn fail(&mut self, tensor: &str, why: &str) {
        let why = why.replace('\n', " ");
        self.line(tensor, "-", "-", false, &format!(" ({why})"));
    }

    /// Runs a part of a fixture's checks; a panic in it is a failure of that part alone.
    pub fn part(&mut self, name: &str, check: impl FnOnce(&mut Self)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| check(self)));
        if let Err(payload) = outcome {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or(payload.downcast_ref::<&str>().copied());
            self.fail(name, text.unwrap_or("panicked"));
        }
    }

    /// Compares floats; infinities must be the same.
    pub fn close<const D: usize>(
        &mut self,
        f: &Fixture,
        tensor: &str,
        ours: Tensor<D>,
        tolerance: f64,
    ) {
        self.close_as(tensor, ours, f.stored(tensor), tolerance);
    }

    /// As [`Report::close`], against numbers that are stored under another name.
    pub fn close_as<const D: usize>(
        &mut self,
        tensor: &str,
        ours: Tensor<D>,
        theirs: &Stored,
        tolerance: f64,
    ) {
        let dims = ours.dims().to_vec();
        let values: Vec<f64> = ours.into_data().convert::<f32>().iter::<f64>().collect();
        self.numbers(tensor, &Stored { dims, values }, theirs, tolerance);
    }

    /// Compares integers, which must be equal.
    pub fn equal<const D: usize>(&mut self, f: &Fixture, tensor: &str, ours: Tensor<D, Int>) {
        let dims = ours.dims().to_vec();
        let values: Vec<f64> = ours.into_data().convert::<i64>().iter::<f64>().collect();
        self.numbers(tensor, &Stored { dims, values }, f.stored(tensor), 0.0);
    }

    /// A line for an error that was measured; the bound is not widened.
    pub fn within(&mut self, name: &str, error: f32, bound: f32) {
        let (shown, limit) = (format!("{error:.2e}"), format!("{bound:.2e}"));
        self.line(&name.replace(' ', "-"), &shown, &limit, error <= bound, "");
    }

    /// Compares numbers of any kind; a tolerance of 0 is not widened.
    pub fn numbers(&mut self, tensor: &str, ours: &Stored, theirs: &Stored, tolerance: f64) {
        if ours.dims != theirs.dims {
            let why = format!("shape {:?}, stored {:?}", ours.dims, theirs.dims);
            return self.fail(tensor, &why);
        }
        let tolerance = tolerance * self.factor;
        let error = largest_error(&ours.values, &theirs.values);
        let tolerance_text = format!("{tolerance:.1e}");
        self.line(
            tensor,
            &format!("{error:.2e}"),
            &tolerance_text,
            error <= tolerance,
            "",
        );
    }

    /// Compares bits. Bits that are undecided by `gaps` may differ.
    pub fn bits<const D: usize>(
        &mut self,
        f: &Fixture,
        tensor: &str,
        ours: Tensor<D, Int>,
        gaps: Option<&Gaps>,
    ) -> Agreement {
        self.bits_as(tensor, ours, f.stored(tensor), gaps)
    }

    /// As [`Report::bits`], against bits that are stored under another name.
    pub fn bits_as<const D: usize>(
        &mut self,
        tensor: &str,
        ours: Tensor<D, Int>,
        stored: &Stored,
        gaps: Option<&Gaps>,
    ) -> Agreement {
        if ours.dims().to_vec() != stored.dims {
            self.fail(
                tensor,
                &format!("shape {:?}, stored {:?}", ours.dims(), stored.dims),
            );
            return Agreement::Wrong;
        }
        let ours: Vec<f64> = ours.into_data().convert::<i64>().iter::<f64>().collect();
        let differ = |at: &usize| ours[*at] != stored.values[*at];
        let differing: Vec<usize> = (0..ours.len()).filter(differ).collect();
        if differing.is_empty() {
            self.line(tensor, "0", "0", true, "");
            return Agreement::Same;
        }
        let factor = self.factor;
        let tied = |at: &usize| gaps.is_some_and(|gaps| gaps.values[*at] < gaps.tie * factor);
        let all = differing.iter().all(tied);
        let note = format!(
            " ({} of {} bits differ, all undecided: {all})",
            differing.len(),
            ours.len()
        );
        self.line(tensor, "1", "0", all, &note);
        if all {
            Agreement::Inconclusive
        } else {
            Agreement::Wrong
        }
    }

    /// Compares bytes that were truncated from floats: at most `share` of them are off, by one.
    pub fn bytes(&mut self, f: &Fixture, tensor: &str, ours: &Stored, share: f64) {
        let theirs = f.stored(tensor);
        if ours.dims != theirs.dims {
            let why = format!("shape {:?}, stored {:?}", ours.dims, theirs.dims);
            return self.fail(tensor, &why);
        }
        let error = largest_error(&ours.values, &theirs.values);
        let pairs = ours.values.iter().zip(&theirs.values);
        let off = pairs.filter(|(a, b)| a != b).count() as f64 / theirs.values.len() as f64;
        let good = error <= 1.0 && off <= share * self.factor;
        self.line(
            tensor,
            &format!("{error}"),
            "1",
            good,
            &format!(" (off: {:.3} %)", 100.0 * off),
        );
    }

    /// Compares all parameters of two modules, which must be the same to the last bit.
    pub fn same_weights<M: Module>(&mut self, name: &str, a: &M, b: &M) {
        let read = |module: &M| -> BTreeMap<String, Vec<f64>> {
            let tensors = module.collect(None, None, false).into_iter();
            let values = tensors.map(|tensor| {
                let name = tensor.name.clone();
                let data = bridge::into_data(tensor).expect("a readable parameter");
                (name, data.convert::<f32>().iter::<f64>().collect())
            });
            values.collect()
        };
        let (a, b) = (read(a), read(b));
        if !a.keys().eq(b.keys()) {
            return self.fail(name, "different parameters");
        }
        let errors = a.iter().map(|(key, a)| largest_error(a, &b[key]));
        let error = errors.fold(0.0, f64::max);
        self.line(name, &format!("{error:.2e}"), "0", error == 0.0, "");
    }

    /// Compares a written safetensors file with the official one. Of the official keys, those that
    /// `constant` knows may be absent.
    pub fn same_file(
        &mut self,
        name: &str,
        ours: &Path,
        theirs: &Path,
        constant: impl Fn(&str) -> bool,
    ) {
        let (ours, mut theirs) = match (read_safetensors(ours), read_safetensors(theirs)) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (Err(e), _) | (_, Err(e)) => return self.fail(name, &e.to_string()),
        };
        theirs.retain(|key, _| !constant(key) || ours.contains_key(key));
        if !ours.keys().eq(theirs.keys()) {
            return self.fail(name, "the keys differ");
        }
        if let Some(key) = ours.keys().find(|key| ours[*key].dims != theirs[*key].dims) {
            return self.fail(name, &format!("the shape of {key} differs"));
        }
        let errors = ours
            .iter()
            .map(|(key, a)| largest_error(&a.values, &theirs[key].values));
        let error = errors.fold(0.0, f64::max);
        self.line(name, &format!("{error:.2e}"), "0", error == 0.0, "");
    }
}

/// The largest difference; infinite where a number is missing, not a number, or infinite on one side.
fn largest_error(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let error = |(a, b): (&f64, &f64)| {
        if a == b {
            0.0
        } else if (a - b).is_nan() {
            f64::INFINITY
        } else {
            (a - b).abs()
        }
    };
    a.iter().zip(b).map(error).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(values: &[f64]) -> Stored {
        Stored {
            dims: vec![values.len()],
            values: values.to_vec(),
        }
    }

    #[test]
    fn bad_numbers_fail() {
        let mut report = Report::new(1.0);
        let good = stored(&[1.0, f64::NEG_INFINITY]);
        report.numbers("same", &good, &good, 0.0);
        report.numbers("near", &stored(&[1.1]), &stored(&[1.0]), 0.2);
        assert_eq!(report.counts(), (2, 0, &[][..]));
        report.numbers("far", &stored(&[1.3]), &stored(&[1.0]), 0.2);
        report.numbers("nan", &stored(&[f64::NAN]), &stored(&[1.0]), 1e9);
        report.numbers("finite", &stored(&[0.0, 0.0]), &good, 1e9);
        report.numbers("shape", &stored(&[1.0]), &good, 1e9);
        report.part("panic", |_| panic!("no {}", "luck"));
        report.skip("later", "not there yet");
        let (passed, skipped, failed) = report.counts();
        assert_eq!((passed, skipped, failed.len()), (2, 1, 5));
    }
}
