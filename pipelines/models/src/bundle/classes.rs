//! A class-conditional model: a VAR transformer with its codebook auto-encoder and the names of its classes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, FloatDType};
use nextscale_tokenizer::vqvae::{VqCodes, VqVae, VqVaeConfig};
use nextscale_var_core::blocks::BlockStorage;
use nextscale_var_core::sampler::{Sampler, SamplerConfig};
use nextscale_var_core::var::GenerateOptions;
use nextscale_var_core::var::read_var;
use nextscale_var_core::var::{Var, VarConfig};
use nextscale_weights::WeightFile;
use serde::{Deserialize, Serialize};

use super::{MANIFEST, ModelKind, Sampling, TRANSFORMER, VAE, damaged, weights};
use crate::error::{ModelError, nearest};
use crate::memory::{self, Estimate};
use weights::Weights;

/// Everything about a class-conditional model but its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassManifest {
    /// What kind of model it is: [`ModelKind::Var`].
    pub kind: ModelKind,
    /// What people call it.
    pub name: String,
    /// What it paints, what it was trained on, and the licence.
    #[serde(default)]
    pub about: String,
    /// Shapes of the transformer.
    pub transformer: VarConfig,
    /// Shapes of the auto-encoder.
    pub vae: VqVaeConfig,
    /// Sampling defaults; the guidance is that at the last scale, reached along a ramp.
    pub sampling: Sampling,
    /// Names of the classes in their order, several for one class with `, ` between them; may be empty.
    #[serde(default)]
    pub classes: Vec<String>,
    /// SHA-256 of each file beside this one, by name.
    #[serde(default)]
    pub fingerprints: BTreeMap<String, String>,
}

impl ClassManifest {
    /// Width and height of its pictures.
    pub fn size(&self) -> (usize, usize) {
        let (last, stride) = (self.transformer.schedule.last(), self.vae.stride());
        (last.w * stride, last.h * stride)
    }

    /// Whether the parts fit each other.
    fn check(&self) -> Result<(), String> {
        let Self {
            transformer, vae, ..
        } = self;
        if self.kind != ModelKind::Var {
            return Err("is no class-conditional model".into());
        }
        if vae.vocabulary != transformer.vocabulary {
            return Err(format!(
                "does not fit together: its auto-encoder has {} codes, its transformer tells {} apart",
                vae.vocabulary, transformer.vocabulary
            ));
        }
        if vae.channels != transformer.channels {
            return Err(format!(
                "does not fit together: its auto-encoder has {} channels, its transformer takes {}",
                vae.channels, transformer.channels
            ));
        }
        if !self.classes.is_empty() && self.classes.len() != transformer.classes {
            return Err(format!(
                "names {} classes of {}",
                self.classes.len(),
                transformer.classes
            ));
        }
        Ok(())
    }

    /// What to call a class: its first name, or its number.
    pub fn class_name(&self, class: usize) -> String {
        let names = self.classes.get(class);
        let first = names.and_then(|names| names.split(", ").next());
        first.map_or_else(|| class.to_string(), str::to_owned)
    }

    /// The class of a number, or of one of its names in any case.
    ///
    /// # Errors
    /// A message and perhaps a hint: no such class, or a name of several.
    pub fn class(&self, wanted: &str) -> Result<usize, (String, Option<String>)> {
        let count = self.transformer.classes;
        if let Ok(index) = wanted.parse::<i64>() {
            return match usize::try_from(index) {
                Ok(index) if index < count => Ok(index),
                _ => Err((
                    format!("there is no class {index}: they go from 0 to {}", count - 1),
                    None,
                )),
            };
        }
        let asked = wanted.trim().to_lowercase();
        let named = |names: &String, first: bool| {
            let mut names = names.split(", ").take(if first { 1 } else { usize::MAX });
            names.any(|name| name.to_lowercase() == asked)
        };
        for first in [true, false] {
            let all = self.classes.iter().enumerate();
            let found: Vec<usize> = all
                .filter(|(_, n)| named(n, first))
                .map(|(i, _)| i)
                .collect();
            match found.as_slice() {
                [] => {}
                [one] => return Ok(*one),
                several => {
                    let list: Vec<String> = several.iter().map(ToString::to_string).collect();
                    let message = format!(
                        "`{wanted}` is the name of several classes: {}",
                        list.join(", ")
                    );
                    return Err((
                        message,
                        Some("give the number of the one that you mean".into()),
                    ));
                }
            }
        }
        Err((
            format!("there is no class `{wanted}`"),
            Some(self.suggest(&asked, count)),
        ))
    }

    fn suggest(&self, asked: &str, count: usize) -> String {
        let numbers = format!("give its number, from 0 to {}", count - 1);
        if self.classes.is_empty() {
            return format!("this model's classes have no names: {numbers}");
        }
        let lower: Vec<String> = self.classes.iter().map(|n| n.to_lowercase()).collect();
        let names = || lower.iter().flat_map(|n| n.split(", "));
        let long = asked.chars().count() > 2;
        let like: Vec<&str> = names()
            .filter(|n| long && n.contains(asked))
            .take(8)
            .collect();
        match (like.is_empty(), nearest(asked, names())) {
            (false, _) => format!("classes like it: {}", like.join(", ")),
            (true, Some(name)) => format!("did you mean `{name}`?"),
            (true, None) => numbers,
        }
    }
}

impl Sampling {
    /// The sampler and the options of a class-conditional run for pictures with these seeds, over `scales` scales:
    /// guidance goes up along VAR's ramp.
    pub fn start_classes(&self, seeds: &[u64], scales: usize) -> (Sampler, GenerateOptions) {
        let options = GenerateOptions::ramp(self.cfg, scales);
        if self.tau == 0.0 {
            return (Sampler::greedy(), options);
        }
        let config = SamplerConfig {
            temperature: self.tau,
            top_k: self.top_k,
            top_p: self.top_p,
        };
        (Sampler::new(config, seeds), options)
    }
}

/// A class-conditional model that was opened: its description is read and its parts fit together; no weight is loaded.
#[derive(Debug)]
pub struct ClassBundle {
    name: String,
    manifest: ClassManifest,
    transformer: PathBuf,
    vae: PathBuf,
}

impl ClassBundle {
    /// A model of these files.
    ///
    /// # Errors
    /// Parts that do not fit together.
    pub fn new(
        name: &str,
        manifest: ClassManifest,
        transformer: PathBuf,
        vae: PathBuf,
    ) -> Result<Self, ModelError> {
        manifest.check().map_err(|e| damaged(name, e))?;
        let name = name.to_owned();
        Ok(Self {
            name,
            manifest,
            transformer,
            vae,
        })
    }

    /// The model in a folder with a [`MANIFEST`].
    pub(super) fn open(folder: &str, manifest: &[u8]) -> Result<Self, ModelError> {
        let manifest = serde_json::from_slice(manifest)
            .map_err(|e| damaged(folder, format!("has an unreadable {MANIFEST}: {e}")))?;
        let file = |name: &str| -> Result<PathBuf, ModelError> {
            let path = Path::new(folder).join(name);
            let weights = Weights::open(path.clone()).map_err(|e| damaged(folder, e))?;
            // The header alone tells a cut-off file from a whole one.
            weights
                .shape("")
                .map(drop)
                .or_else(|e| match e.contains("without ``") {
                    true => Ok(()),
                    false => Err(damaged(folder, e)),
                })?;
            Ok(path)
        };
        Self::new(folder, manifest, file(TRANSFORMER)?, file(VAE)?)
    }

    /// The name that it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its description.
    pub fn manifest(&self) -> &ClassManifest {
        &self.manifest
    }

    /// SHA-256 over the fingerprints of all its files; none if the manifest has no fingerprints.
    pub fn fingerprint(&self) -> Option<String> {
        super::fingerprint(&self.manifest.fingerprints)
    }

    /// The SHA-256 that the manifest states for the auto-encoder.
    pub fn vae_print(&self) -> Option<&str> {
        self.manifest.fingerprints.get(VAE).map(String::as_str)
    }

    /// What painting takes; `rows` are those of the transformer's batch, two a picture under guidance.
    pub fn estimate(
        &self,
        rows: usize,
        (dtype, device, blocks): (FloatDType, &Device, BlockStorage),
    ) -> Estimate {
        let vae = std::fs::metadata(&self.vae).map_or(0, |meta| meta.len());
        let (width, height) = self.manifest.size();
        let place = (dtype, memory::working(dtype, device), blocks);
        let pixels = (width * height) as u64;
        Estimate::var(&self.manifest.transformer, vae, pixels, rows as u64, place)
    }

    /// Loads the transformer, with its blocks held as wanted.
    ///
    /// # Errors
    /// A damaged file, and weights that are not those of the manifest.
    pub fn transformer(
        &self,
        device: &Device,
        dtype: FloatDType,
        blocks: BlockStorage,
    ) -> Result<Var, ModelError> {
        self.verify(TRANSFORMER, &self.transformer)?;
        let config = &self.manifest.transformer;
        let file = WeightFile::open(&self.transformer);
        let file = file.map(|file| file.in_dtype(dtype.into()));
        let model = file.and_then(|file| read_var(config, file, blocks, device));
        model.map_err(|e| damaged(&self.name, format!("cannot be loaded: {e}")))
    }

    /// Loads the auto-encoder, in f32.
    ///
    /// # Errors
    /// A damaged file, and weights that are not those of the manifest.
    pub fn vae(&self, device: &Device) -> Result<VqVae, ModelError> {
        self.verify(VAE, &self.vae)?;
        let vae = self.manifest.vae.init(device).load(&self.vae);
        vae.map_err(|e| damaged(&self.name, format!("cannot be loaded: {e}")))
    }

    /// Loads the codes of the auto-encoder without its encoder and decoder, in f32.
    ///
    /// # Errors
    /// As [`ClassBundle::vae`].
    pub fn codes(&self, device: &Device) -> Result<VqCodes, ModelError> {
        self.verify(VAE, &self.vae)?;
        let codes = self.manifest.vae.init_codes(device).load(&self.vae);
        codes.map_err(|e| damaged(&self.name, format!("cannot be loaded: {e}")))
    }

    fn verify(&self, file: &str, path: &Path) -> Result<(), ModelError> {
        let stated = self.manifest.fingerprints.get(file);
        super::verify(&self.name, file, stated, &Weights::File(path.to_owned()))
    }

    /// Completes a model folder: writes the manifest with the fingerprints of the files that lie there, and opens the
    /// result.
    ///
    /// # Errors
    /// Missing files, a folder that cannot be written to, parts that do not fit together.
    pub fn seal(folder: &Path, mut manifest: ClassManifest) -> Result<Self, ModelError> {
        manifest.fingerprints = super::prints(folder, &[TRANSFORMER, VAE])?;
        let json = super::write_manifest(folder, &manifest)?;
        Self::open(&folder.display().to_string(), json.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> ClassManifest {
        crate::bundle::released::class_manifest(
            VarConfig::released_256(16),
            VqVaeConfig::released(),
        )
    }

    #[test]
    fn classes_by_number_and_by_name() {
        let manifest = manifest();
        assert_eq!(manifest.class("207"), Ok(207));
        assert_eq!(manifest.class("Golden Retriever"), Ok(207));
        assert_eq!(manifest.class("Tinca tinca"), Ok(0));
        assert_eq!(
            manifest.class("missile"),
            Ok(657),
            "its first name, and another's second"
        );
        assert_eq!(manifest.class_name(207), "golden retriever");
    }

    #[test]
    fn wrong_classes_are_explained() {
        let manifest = manifest();
        let wrong = |class: &str| manifest.class(class).unwrap_err();
        assert_eq!(
            wrong("1000").0,
            "there is no class 1000: they go from 0 to 999"
        );
        assert_eq!(wrong("-1").0, "there is no class -1: they go from 0 to 999");
        assert_eq!(
            wrong("crane").0,
            "`crane` is the name of several classes: 134, 517"
        );
        assert_eq!(
            wrong("golden retreiver").1.unwrap(),
            "did you mean `golden retriever`?"
        );
        assert!(wrong("terrier").1.unwrap().contains("toy terrier"));
    }

    #[test]
    fn parts_must_fit() {
        let mut other = manifest();
        other.vae.vocabulary = 512;
        let message = other.check().unwrap_err();
        assert!(
            message.contains("512 codes") && message.contains("4096"),
            "{message}"
        );
        let mut other = manifest();
        other.classes.pop();
        assert_eq!(other.check().unwrap_err(), "names 999 classes of 1000");
    }
}
