//! Loaded parts of models, shared by the runs of a program that goes on: a server paints many images and loads a model once.

use std::any::{Any, TypeId};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Device, FloatDType};
use nextscale_var_core::blocks::BlockStorage;
use nextscale_video::InfinityStarVae;

use crate::device::Placement;
use crate::error::ModelError;
use crate::files::Part;
use crate::generator::{
    ImageAutoencoder, PromptEncoder, ScaleGenerator, VideoDecoder, VideoScaleGenerator,
};
use crate::model::Model;

/// Where runs get the parts of models from. By default each loads its own.
#[derive(Debug, Clone, Default)]
pub struct Parts(Option<Arc<Pool>>);

#[derive(Debug)]
struct Pool {
    budget: u64,
    /// The least recently used first.
    held: Mutex<Vec<Held>>,
}

/// A part that is kept.
#[derive(Debug)]
struct Held {
    key: Key,
    part: Arc<dyn Any + Send + Sync>,
    bytes: u64,
}

/// What makes two parts the same.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    kind: TypeId,
    model: String,
    device: Device,
    dtype: FloatDType,
    blocks: BlockStorage,
}

impl Parts {
    /// Keeps what was loaded, and shares it, until weights take more than so many bytes. Then what was not used for the longest time goes,
    /// as far as no run has it.
    pub fn keeping(bytes: u64) -> Self {
        Self(Some(Arc::new(Pool {
            budget: bytes,
            held: Mutex::default(),
        })))
    }

    /// Bytes of the weights that are kept, and how many parts they are.
    pub fn kept(&self) -> (u64, usize) {
        let Some(pool) = &self.0 else { return (0, 0) };
        let held = pool.held.lock().unwrap_or_else(PoisonError::into_inner);
        (held.iter().map(|held| held.bytes).sum(), held.len())
    }

    /// A model's text encoder.
    ///
    /// # Errors
    /// Those of [`PromptEncoder::load`].
    pub fn prompt_encoder(
        &self,
        model: &Arc<Model>,
        device: &Device,
    ) -> Result<Arc<PromptEncoder>, ModelError> {
        let placement = Placement {
            device: device.clone(),
            dtype: FloatDType::F32,
            blocks: BlockStorage::Loaded,
        };
        let load = || PromptEncoder::load(model, device);
        self.get(model, Part::Text, &placement, load)
    }

    /// The transformer of a model of images.
    ///
    /// # Errors
    /// Those of [`ScaleGenerator::load`].
    pub fn scale_generator(
        &self,
        model: &Arc<Model>,
        placement: &Placement,
    ) -> Result<Arc<ScaleGenerator>, ModelError> {
        let load = || ScaleGenerator::load(model, placement);
        self.get(model, Part::Transformer, placement, load)
    }

    /// The auto-encoder of a model of images.
    ///
    /// # Errors
    /// Those of [`ImageAutoencoder::load`].
    pub fn image_autoencoder(
        &self,
        model: &Arc<Model>,
        placement: &Placement,
    ) -> Result<Arc<ImageAutoencoder>, ModelError> {
        let load = || ImageAutoencoder::load(model, placement);
        self.get(model, Part::Vae, placement, load)
    }

    /// The transformer of a model of videos.
    ///
    /// # Errors
    /// Those of [`VideoScaleGenerator::load`].
    pub fn video_scale_generator(
        &self,
        model: &Arc<Model>,
        placement: &Placement,
    ) -> Result<Arc<VideoScaleGenerator>, ModelError> {
        let load = || VideoScaleGenerator::load(model, placement);
        self.get(model, Part::Transformer, placement, load)
    }

    /// The auto-encoder of a model of videos.
    ///
    /// # Errors
    /// Those of [`Model::load_infinity_star_vae`].
    pub fn video_autoencoder(
        &self,
        model: &Arc<Model>,
        placement: &Placement,
    ) -> Result<Arc<InfinityStarVae>, ModelError> {
        // How blocks are stored concerns the transformer.
        let placement = Placement {
            blocks: BlockStorage::Loaded,
            ..placement.clone()
        };
        let load = || model.load_infinity_star_vae(&placement);
        self.get(model, Part::Vae, &placement, load)
    }

    /// The decoder of a model of videos, with an auto-encoder that is shared.
    ///
    /// # Errors
    /// Those of [`VideoDecoder::load`].
    pub fn video_decoder(
        &self,
        model: &Arc<Model>,
        placement: &Placement,
    ) -> Result<VideoDecoder, ModelError> {
        VideoDecoder::with(model, self.video_autoencoder(model, placement)?)
    }

    fn get<T: Any + Send + Sync>(
        &self,
        model: &Model,
        part: Part,
        placement: &Placement,
        load: impl FnOnce() -> Result<T, ModelError>,
    ) -> Result<Arc<T>, ModelError> {
        let (Some(pool), Some(identity)) = (&self.0, model.identity()) else {
            return load().map(Arc::new);
        };
        let key = Key {
            kind: TypeId::of::<T>(),
            model: identity,
            device: placement.device.clone(),
            dtype: placement.dtype,
            blocks: placement.blocks,
        };
        // Two runs that need the same part wait for each other instead of loading it twice.
        let mut held = pool.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = held.iter().position(|held| held.key == key) {
            let found = held.remove(at);
            let part = Arc::clone(&found.part);
            held.push(found);
            if let Ok(part) = part.downcast() {
                return Ok(part);
            }
        }
        let bytes = model.bytes_of(part, placement)?;
        make_room(&mut held, pool.budget.saturating_sub(bytes));
        let loaded = Arc::new(load()?);
        if bytes <= pool.budget {
            held.push(Held {
                key,
                part: Arc::clone(&loaded) as Arc<dyn Any + Send + Sync>,
                bytes,
            });
        }
        Ok(loaded)
    }
}

/// Drops parts that no run has, the least recently used first, until the others take no more than `most` bytes.
fn make_room(held: &mut Vec<Held>, most: u64) {
    while held.iter().map(|held| held.bytes).sum::<u64>() > most {
        let unused = |held: &Held| Arc::strong_count(&held.part) == 1;
        let Some(at) = held.iter().position(unused) else {
            return;
        };
        held.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DeviceChoice, Dtype};

    fn default_model() -> (Arc<Model>, Placement) {
        let placement = Placement::open(DeviceChoice::Cpu, Dtype::F32).unwrap();
        (Arc::new(Model::open("default").unwrap()), placement)
    }

    #[test]
    fn a_part_is_loaded_once() {
        let parts = Parts::keeping(1 << 30);
        let (model, placement) = default_model();
        let first = parts.scale_generator(&model, &placement).unwrap();
        // Another run opens the model anew.
        let (again, _) = default_model();
        let second = parts.scale_generator(&again, &placement).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let other = Placement {
            dtype: FloatDType::BF16,
            ..placement.clone()
        };
        let third = parts.scale_generator(&model, &other).unwrap();
        assert!(!Arc::ptr_eq(&first, &third));
        let encoder = parts.prompt_encoder(&model, &placement.device).unwrap();
        let words = encoder.encode("a red apple", 1).unwrap();
        assert!(words.unknown.is_empty());
        assert_eq!(parts.kept().1, 3);
    }

    #[test]
    fn without_a_pool_each_run_has_its_own() {
        let (model, placement) = default_model();
        let own = || Parts::default().image_autoencoder(&model, &placement);
        assert!(!Arc::ptr_eq(&own().unwrap(), &own().unwrap()));
        assert_eq!(Parts::default().kept(), (0, 0));
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes() {
        let (model, placement) = default_model();
        let transformer = model.bytes_of(Part::Transformer, &placement).unwrap();
        let parts = Parts::keeping(transformer + 1000);
        let first = parts.scale_generator(&model, &placement).unwrap();
        assert_eq!(parts.kept(), (transformer, 1));
        // In use: it stays although there is no room.
        parts.image_autoencoder(&model, &placement).unwrap();
        assert_eq!(parts.kept().1, 2);
        drop(first);
        parts.prompt_encoder(&model, &placement.device).unwrap();
        assert_eq!(parts.kept().1, 2, "the transformer made room");
        let tiny = Parts::keeping(10);
        tiny.image_autoencoder(&model, &placement).unwrap();
        assert_eq!(tiny.kept(), (0, 0));
    }
}
