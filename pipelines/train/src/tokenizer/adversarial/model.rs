//! Auto-encoder and discriminator as one module.

use std::borrow::Cow;

use burn::module::{Module, ModuleMapper, ModuleVisitor};
use burn::tensor::Device;

use crate::tokenizer::adversarial::discriminator::PatchDiscriminator;

/// The name of the discriminator in checkpoints.
pub(crate) const DISCRIMINATOR: &str = "discriminator";

/// An auto-encoder, and the discriminator that it is trained against.
///
/// In checkpoints the parameters of the auto-encoder have the names that it gives them, without a name for the field: so those of a
/// run without discriminator are those of the auto-encoder alone.
#[derive(Clone, Debug)]
pub(crate) struct Adversarial<A> {
    /// The auto-encoder.
    pub autoencoder: A,
    /// The discriminator, if there is one.
    pub discriminator: Option<PatchDiscriminator>,
}

impl<A: Module> Adversarial<A> {
    /// An auto-encoder alone.
    pub(crate) fn alone(autoencoder: A) -> Self {
        Self {
            autoencoder,
            discriminator: None,
        }
    }

    /// What is averaged, evaluated and exported: the auto-encoder.
    pub(crate) fn averaged(&self) -> Cow<'_, Self> {
        match self.discriminator {
            Some(_) => Cow::Owned(Self::alone(self.autoencoder.clone())),
            None => Cow::Borrowed(self),
        }
    }

    fn each(
        self,
        autoencoder: impl FnOnce(A) -> A,
        other: impl FnOnce(PatchDiscriminator) -> PatchDiscriminator,
    ) -> Self {
        Self {
            autoencoder: autoencoder(self.autoencoder),
            discriminator: self.discriminator.map(other),
        }
    }
}

impl<A: Module> Module for Adversarial<A> {
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        let devices = self.autoencoder.collect_devices(devices);
        match &self.discriminator {
            Some(discriminator) => discriminator.collect_devices(devices),
            None => devices,
        }
    }

    fn fork(self, device: &Device) -> Self {
        self.each(|a| a.fork(device), |d| d.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.each(|a| a.to_device(device), |d| d.to_device(device))
    }

    fn train(self) -> Self {
        self.each(A::train, PatchDiscriminator::train)
    }

    fn valid(&self) -> Self {
        Self {
            autoencoder: self.autoencoder.valid(),
            discriminator: self.discriminator.as_ref().map(Module::valid),
        }
    }

    fn materialize(self) -> Self {
        self.each(A::materialize, PatchDiscriminator::materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.autoencoder.visit(visitor);
        if let Some(discriminator) = &self.discriminator {
            visitor.enter_module(DISCRIMINATOR, "Struct:Adversarial");
            discriminator.visit(visitor);
            visitor.exit_module(DISCRIMINATOR, "Struct:Adversarial");
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let autoencoder = self.autoencoder.map(mapper);
        let discriminator = self.discriminator.map(|discriminator| {
            mapper.enter_module(DISCRIMINATOR, "Struct:Adversarial");
            let discriminator = discriminator.map(mapper);
            mapper.exit_module(DISCRIMINATOR, "Struct:Adversarial");
            discriminator
        });
        Self {
            autoencoder,
            discriminator,
        }
    }
}
