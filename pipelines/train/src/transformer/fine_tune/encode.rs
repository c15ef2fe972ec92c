//! Encoding a data set before training: latents by the auto-encoder, captions by the text encoder, each once.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use nextscale_data::{Dataset, captions::WHITE};
use nextscale_models::generator::PromptEncoder;
use nextscale_models::{Model, Placement};
use rand::Rng as _;

use super::batches::EncodedExample;
use super::cache::{Cache, Key};
use super::family::Family;
use crate::batches::planes;
use crate::error::{Result, TrainError, ensure};
use crate::run::{Observer, TrainEvent};
use crate::shuffle::rng_for;

/// Pixels that are encoded at a time.
const PIXELS_AT_ONCE: usize = 1 << 20;

/// What encodes.
pub(super) struct Encoding<'a, F> {
    pub family: &'a F,
    pub model: &'a Arc<Model>,
    pub placement: &'a Placement,
    pub set: &'a Dataset,
    pub cache: &'a Cache,
    /// The number that a class of the data set has in the model.
    pub classes: Vec<usize>,
}

/// A latent that is not in the cache yet.
struct Missing {
    id: usize,
    mirrored: bool,
    key: Key,
}

impl<F: Family> Encoding<'_, F> {
    /// Encodes what is not in the cache, and returns what every image has there.
    pub(super) fn run(&self, observe: Observer<'_>) -> Result<Vec<EncodedExample>> {
        let (mut examples, mut missing) = (Vec::new(), Vec::new());
        let own = self.model.autoencoder_identity();
        let encoder = own.unwrap_or_else(|| format!("random {}", self.model.name()));
        for id in 0..self.set.len() {
            let may_flip = self.set.entry(id).flip;
            let ways = [false, true]
                .into_iter()
                .filter(|&mirrored| may_flip || !mirrored);
            let keys = ways.map(|mirrored| {
                let key = Key::new("latent", &self.pixels(id, mirrored).concat(), &encoder);
                if !self.cache.has(&key) {
                    let key = key.clone();
                    missing.push(Missing { id, mirrored, key });
                }
                key
            });
            examples.push(EncodedExample {
                latents: keys.collect(),
                captions: Vec::new(),
                class: self.set.class(id).map_or(0, |class| self.classes[class]),
            });
        }
        self.encode_latents(&missing, observe)?;
        if self.model.manifest().text().is_some() {
            self.encode_captions(&mut examples, observe)?;
        }
        Ok(examples)
    }

    /// The frames of a clip, or the image, as RGB bytes.
    fn pixels(&self, id: usize, mirrored: bool) -> Vec<Vec<u8>> {
        let frames: Vec<Vec<u8>> = if self.set.frames() > 1 {
            let frames = self.set.clip(id).into_iter();
            frames.map(<[u8]>::to_vec).collect()
        } else {
            vec![self.set.image(id, WHITE)]
        };
        if !mirrored {
            return frames;
        }
        let [width, _] = self.set.size_of(id);
        let flip = |frame: Vec<u8>| {
            let rows = frame.chunks_exact(width * 3);
            let rows = rows.flat_map(|row| row.chunks_exact(3).rev().flatten().copied());
            rows.collect()
        };
        frames.into_iter().map(flip).collect()
    }

    fn encode_latents(&self, missing: &[Missing], observe: Observer<'_>) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let encode = self.family.encoder(self.model, self.placement)?;
        let frames = self.set.frames();
        let mut done = 0;
        while done < missing.len() {
            let bucket = self.set.bucket(missing[done].id);
            let [width, height] = self.set.size_of(missing[done].id);
            let most = (PIXELS_AT_ONCE / (width * height * frames)).max(1);
            let rest = missing[done..].iter();
            let same = rest.take_while(|one| self.set.bucket(one.id) == bucket);
            let part = same.take(most).count();
            let batch = &missing[done..done + part];
            let mut numbers = Vec::with_capacity(part * 3 * frames * width * height);
            for one in batch {
                planes::append(&self.pixels(one.id, one.mirrored), &mut numbers);
            }
            let data = TensorData::new(numbers, [part, 3, frames, height, width]);
            let latents = encode(Tensor::from_data(data, &self.placement.device));
            let numbers: Vec<f32> = latents.into_data().iter().collect();
            for (one, latent) in batch.iter().zip(numbers.chunks(numbers.len() / part)) {
                self.check(one.id, latent)?;
                self.cache.write(&one.key, latent)?;
            }
            done += part;
            let all = missing.len();
            observe(TrainEvent::Encoding {
                what: "images",
                done,
                all,
            });
        }
        Ok(())
    }

    /// Refuses a latent of another size or with numbers that are none.
    fn check(&self, id: usize, latent: &[f32]) -> Result<()> {
        let expected: usize = self.family.latent(self.set.bucket(id)).iter().product();
        let name = self.name(id);
        ensure!(
            latent.len() == expected,
            "data: the latent of {name} has {} numbers, not {expected}: its size is none of the model's",
            latent.len()
        );
        ensure!(
            latent.iter().all(|x| x.is_finite()),
            "data: the auto-encoder gives no numbers (NaN) for {name}: its weights are damaged"
        );
        Ok(())
    }

    fn name(&self, id: usize) -> String {
        let entry = self.set.entry(id);
        match entry.file.as_str() {
            "" => format!("image {id} of `{}`", self.set.folder().display()),
            file => format!("`{file}`"),
        }
    }

    fn encode_captions(
        &self,
        examples: &mut [EncodedExample],
        observe: Observer<'_>,
    ) -> Result<()> {
        let own = self.model.text_encoder_identity();
        let identity = own.unwrap_or_else(|| format!("random {}", self.model.name()));
        let channels = self.channels();
        let mut encoder: Option<PromptEncoder> = None;
        let all = examples.len();
        for (id, example) in examples.iter_mut().enumerate() {
            let mut is_new = false;
            for caption in self.captions(id) {
                let content = format!("{} frames: {caption}", self.set.frames());
                let key = Key::new("text", content.as_bytes(), &identity);
                if !self.cache.has(&key) {
                    if encoder.is_none() && self.model.has_files() {
                        let loaded = PromptEncoder::load(self.model, &self.placement.device)?;
                        encoder = Some(loaded);
                    }
                    let features = self.features(encoder.as_ref(), &caption, channels);
                    let features = features.map_err(|error| {
                        TrainError::setting("data", format!("{}: {error}", self.name(id)))
                    })?;
                    self.cache.write(&key, &features)?;
                    is_new = true;
                }
                let tokens = self.cache.read(&key)?.len() / channels;
                example.captions.push((key, tokens));
            }
            if is_new {
                let (what, done) = ("captions", id + 1);
                observe(TrainEvent::Encoding { what, done, all });
            }
        }
        if let Some(encoder) = encoder {
            encoder.unload();
        }
        Ok(())
    }

    fn captions(&self, id: usize) -> Vec<String> {
        let own = &self.set.entry(id).captions;
        if own.is_empty() {
            return vec![self.set.caption(id)];
        }
        own.clone()
    }

    fn channels(&self) -> usize {
        let text = self.model.manifest().text();
        text.map_or(1, |config| config.d_model)
    }

    /// `[tokens, channels]`. Without a text encoder, random numbers that follow from the caption, a token for each word.
    fn features(
        &self,
        encoder: Option<&PromptEncoder>,
        caption: &str,
        channels: usize,
    ) -> std::result::Result<Vec<f32>, nextscale_models::ModelError> {
        if let Some(encoder) = encoder {
            let encoded = encoder.encode(caption, self.set.frames())?;
            return Ok(encoded.features.into_data().iter().collect());
        }
        let seed = caption
            .bytes()
            .fold(7u64, |seed, byte| seed.rotate_left(5) ^ u64::from(byte));
        let mut rng = rng_for(seed, 0);
        let tokens = caption.split_whitespace().count() + 1;
        Ok((0..tokens * channels)
            .map(|_| rng.random_range(-0.5..0.5))
            .collect())
    }
}

/// The classes of a model that the classes of a data set are, by name.
///
/// # Errors
/// A class that the model does not have.
pub(super) fn classes(model: &Model, set: &Dataset, folder: &Path) -> Result<Vec<usize>> {
    let Ok(manifest) = model.var() else {
        return Ok(vec![0; set.classes().len()]);
    };
    let known = manifest.class_names();
    let all = set.classes().iter().map(|class| {
        known.find(class).map_err(|error| {
            let message = format!(
                "`{}` has the class {class:?}, which `{}` does not know: {error}; name the folders after its classes, or by their numbers",
                folder.display(),
                model.name()
            );
            TrainError::setting("data", message)
        })
    });
    all.collect()
}
