//! A folder with a data set, runs in it, and what they wrote.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::store::burn_pack::Reader;
use nextscale_data::{IdxRecipe, build_idx};
use nextscale_files::checksum;
use nextscale_models::device::DeviceChoice;
use nextscale_train::{TrainEvent, TrainRequest, train_tokenizer, train_transformer};
use serde_json::Value;

/// Side of the images.
const SIDE: usize = 32;

/// Random weights come from one generator for all threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A folder with a data set of stripes.
pub(crate) struct Workplace(tempfile::TempDir);

impl Workplace {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.build_data();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a gzipped IDX file and returns its line of the recipe.
    fn idx(&self, name: &str, dims: &[usize], content: &[u8]) -> String {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        for &dim in dims {
            bytes.extend((dim as u32).to_be_bytes());
        }
        bytes.extend(content);
        let file = fs::File::create(self.path(&format!("{name}.gz"))).unwrap();
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packed.write_all(&bytes).unwrap();
        packed.finish().unwrap();
        format!("{{ file: {name}, sha256: {} }}", checksum::of_bytes(&bytes))
    }

    fn build_data(&self) {
        let stripes = |image: usize| {
            (0..SIDE * SIDE).map(move |i| {
                let along = if image.is_multiple_of(2) {
                    i / SIDE
                } else {
                    i % SIDE
                };
                let bright = ((along + image) / 5).is_multiple_of(2);
                if bright {
                    (120 + image * 23 % 130) as u8
                } else {
                    20
                }
            })
        };
        let folder = self.0.path().display();
        let mut text = format!(
            "kind: idx\nsize: {SIDE}\nout: {folder}/data\ncache: {folder}/cache\nclasses: [rows, columns]\nfrom: [{{ folder: {folder} }}]\n"
        );
        for (part, count) in [("train", 12), ("held_out", 2)] {
            let images: Vec<u8> = (0..count).flat_map(stripes).collect();
            let labels: Vec<u8> = (0..count).map(|i| (i % 2) as u8).collect();
            let images = self.idx(&format!("{part}-images"), &[count, SIDE, SIDE], &images);
            let labels = self.idx(&format!("{part}-labels"), &[count], &labels);
            text += &format!("{part}:\n  images: {images}\n  labels: {labels}\n");
        }
        let recipe = self.path("data.yaml");
        fs::write(&recipe, text).unwrap();
        let recipe = IdxRecipe::load(&recipe).unwrap();
        build_idx(&recipe, &self.path("data"), false).unwrap();
    }

    /// Trains `text` in the folder `run`, at most `most` steps; returns the lines of the log so far, or the error.
    pub(crate) fn train(&self, text: &str, run: &str, most: usize) -> Result<Vec<Value>, String> {
        let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let config = self.path("config.yaml");
        let folder = self.0.path().display().to_string();
        fs::write(&config, text.replace("FOLDER", &folder)).unwrap();
        let out = self.path(run);
        let request = TrainRequest {
            config: &config,
            out: &out,
            budget: None,
            device: DeviceChoice::Cpu,
            deterministic: false,
            local_rank: 0,
            ranks: None,
        };
        let (stop, mut steps) = (AtomicBool::new(false), 0);
        let mut observe = |event: TrainEvent<'_>| {
            steps += usize::from(matches!(event, TrainEvent::Logged(_)));
            stop.store(steps >= most, Ordering::Relaxed);
        };
        let result = if text.contains("kind: var") {
            train_transformer(&request, &stop, &mut observe)
        } else {
            train_tokenizer(&request, &stop, &mut observe)
        };
        result.map_err(|error| error.to_string())?;
        let log = fs::read_to_string(out.join("log.jsonl")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        Ok(lines.collect())
    }

    /// The tensors of a file of the newest checkpoint of a run.
    pub(crate) fn tensors(&self, run: &str, file: &str) -> BTreeMap<String, Vec<u8>> {
        let steps = fs::read_dir(self.path(run)).unwrap();
        let steps = steps.map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("step-")
        };
        let newest = steps.filter(named).max().unwrap();
        let reader = Reader::from_file(newest.join(file)).unwrap();
        let tensors = reader.into_tensors().unwrap().into_iter();
        tensors
            .map(|tensor| {
                let (name, _, _, _, bytes) = tensor.into_parts().unwrap();
                (name, bytes.to_vec())
            })
            .collect()
    }

    /// A run that is stopped after `at` of `steps` steps and resumed has the numbers of one that is not.
    pub(crate) fn resumes(&self, text: &str, steps: usize, at: usize) -> Vec<Value> {
        let whole = self.train(text, "whole", usize::MAX).unwrap();
        assert_eq!(whole.len(), steps);
        assert_eq!(self.train(text, "parts", at).unwrap().len(), at);
        let parts = self.train(text, "parts", usize::MAX).unwrap();
        for (whole, parts) in whole.iter().zip(&parts) {
            for (key, value) in whole.as_object().unwrap() {
                if key != "seconds" && key != "examples_per_second" {
                    assert_eq!(Some(value), parts.get(key), "{key} at {}", whole["step"]);
                }
            }
        }
        for file in ["model.bpk", "average.bpk"] {
            let [whole, parts] = ["whole", "parts"].map(|run| self.tensors(run, file));
            assert!(whole == parts, "{file} differs");
        }
        whole
    }
}
