//! Where the weights of a transformer in training come from: they are trained themselves, or adapters on them.

use std::marker::PhantomData;

use burn::module::Module;
use burn::tensor::Device;

use super::adapters::{Adapters, LoraConfig};
use crate::blocks::{Transformer, in_f32};

/// A transformer in training.
pub trait Trained<T: Transformer>: Sync {
    /// What is trained.
    type Model: Module;

    /// The transformer; its blocks may be those before training.
    fn top<'a>(&'a self, model: &'a Self::Model) -> &'a T;

    /// Block `i` in f32. Without `recorded` it has no gradients.
    fn block(&self, model: &Self::Model, i: usize, recorded: bool) -> T::Block;

    /// Whether anything outside the blocks is trained.
    fn trains_top(&self) -> bool;
}

/// The transformer itself is trained.
#[derive(Debug, Clone, Copy)]
pub struct Whole<T>(PhantomData<fn() -> T>);

impl<T> Default for Whole<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Transformer> Trained<T> for Whole<T> {
    type Model = T;

    fn top<'a>(&'a self, model: &'a T) -> &'a T {
        model
    }

    fn block(&self, model: &T, i: usize, recorded: bool) -> T::Block {
        let block = model.block(i).into_owned();
        if recorded || !block.devices().iter().any(Device::is_autodiff) {
            block
        } else {
            block.valid()
        }
    }

    fn trains_top(&self) -> bool {
        true
    }
}

/// Adapters on a transformer that is frozen, in whatever number format and wherever its blocks are.
#[derive(Debug)]
pub struct Adapted<T> {
    base: T,
    chosen: Vec<&'static str>,
    scale: f32,
}

impl<T: Transformer> Adapted<T> {
    /// Adapters on `base`, which is without autodiff.
    ///
    /// # Errors
    /// As [`LoraConfig::layers`].
    pub fn new(base: T, config: &LoraConfig) -> Result<Self, String> {
        let chosen = config.layers(&*base.block(0))?;
        Ok(Self {
            chosen,
            scale: (config.alpha() / config.rank as f64) as f32,
            base,
        })
    }

    /// Fresh adapters; see [`Adapters::init`].
    ///
    /// # Errors
    /// As [`LoraConfig::layers`].
    pub fn init(&self, config: &LoraConfig, device: &Device) -> Result<Adapters, String> {
        Adapters::init(config, &*self.base.block(0), self.base.depth(), device)
    }

    /// The frozen transformer.
    pub fn base(&self) -> &T {
        &self.base
    }

    /// The official names of the adapted layers of a block.
    pub fn chosen(&self) -> &[&'static str] {
        &self.chosen
    }
}

impl<T: Transformer + Sync> Trained<T> for Adapted<T> {
    type Model = Adapters;

    fn top<'a>(&'a self, _: &'a Adapters) -> &'a T {
        &self.base
    }

    fn block(&self, model: &Adapters, i: usize, recorded: bool) -> T::Block {
        let mut block = in_f32(self.base.block(i).into_owned());
        model.add_to(&mut block, i, &self.chosen, self.scale, recorded);
        block
    }

    fn trains_top(&self) -> bool {
        false
    }
}
