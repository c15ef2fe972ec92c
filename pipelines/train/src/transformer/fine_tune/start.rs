//! How a fine-tune starts.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use burn::tensor::{Device, FloatDType};
use nextscale_data::Dataset;
use nextscale_models::{Architecture, BlockStorage, Model, Placement};
use nextscale_var_core::train::{Adapted, Whole};
use serde::{Deserialize, Deserializer};

use super::batches::{TunedBatch, TunedBatches};
use super::cache::Cache;
use super::config::{FineTuneConfig, Storage};
use super::encode::{Encoding, classes};
use super::family::Family;
use super::infinity::InfinityFamily;
use super::infinity_star::StarFamily;
use super::memory::estimate;
use super::samples::Sampler;
use super::task::FineTuneTask;
use super::tuned::{TunedModel, Tuning, freeze, parts};
use super::var::VarFamily;
use crate::batches::images::held_out_ids;
use crate::config;
use crate::error::{Result, TrainError, ensure};
use crate::run::{
    Observer, Run, Start, StartContext, TrainEvent, TrainRequest, TrainResult, train,
};
use crate::shuffle::{BucketShuffle, rng_for};

/// Held-out examples that are measured.
const HELD_OUT: usize = 64;

/// Trains a fine-tune, whatever kind of model it starts from.
pub(crate) fn train_fine_tune(
    request: &TrainRequest<'_>,
    stop: &AtomicBool,
    observe: Observer<'_>,
) -> Result<TrainResult> {
    let config: FineTuneConfig = config::read(request.config)?;
    let opened = config
        .open()
        .map_err(|error| error.in_config(request.config))?;
    match opened.architecture() {
        Architecture::Infinity => train::<FineTune<InfinityFamily>>(request, stop, observe),
        Architecture::Var => train::<FineTune<VarFamily>>(request, stop, observe),
        Architecture::InfinityStar => train::<FineTune<StarFamily>>(request, stop, observe),
    }
}

/// The configuration of a fine-tune of one kind of model.
pub(crate) struct FineTune<F> {
    config: FineTuneConfig,
    family: PhantomData<fn() -> F>,
}

impl<F> fmt::Debug for FineTune<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl<'de, F> Deserialize<'de> for FineTune<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(Self {
            config: FineTuneConfig::deserialize(deserializer)?,
            family: PhantomData,
        })
    }
}

impl<F: Family> Run for FineTune<F> {
    type Task = FineTuneTask<F>;
    type Batches = TunedBatches;

    const ANY_SHAPE: bool = true;

    fn check(&self, set: &Dataset) -> Result<()> {
        let model = self.config.open()?;
        self.config.check(model.architecture())?;
        ensure!(
            !set.train_ids().is_empty(),
            "data: all images in `{}` are held out; build it with a smaller `held_out`",
            self.config.data.display()
        );
        F::new(&self.config, &model, set, &Device::flex()).map(drop)
    }

    fn start(self, set: Arc<Dataset>, context: &mut StartContext<'_>) -> Result<Start<Self>> {
        let config = self.config;
        let model = Arc::new(config.open()?);
        let device = context.device;
        let family = F::new(&config, &model, &set, device)?;
        let fresh = F::fresh(&model, &Device::flex())?;
        let told = estimate(&config, &fresh, family.largest(), context.world);
        (context.observe)(TrainEvent::Memory(told));
        drop(fresh);
        let placement = plain(device);
        let cache = Cache::open(&config.data)?;
        let examples = Encoding {
            family: &family,
            model: &model,
            placement: &placement,
            set: &set,
            cache: &cache,
            classes: classes(&model, &set, &config.data)?,
        };
        let examples = examples.run(context.observe)?;
        let mut buckets = vec![Vec::new(); set.sizes().len()];
        for id in set.train_ids() {
            buckets[set.bucket(id)].push(id);
        }
        let batches = TunedBatches {
            cache,
            examples,
            shuffle: BucketShuffle::new(config.seed, buckets, config.batch),
            seed: config.seed,
            drop: config.condition_drop,
            no_class: model
                .var()
                .map_or(0, |manifest| manifest.transformer.classes),
        };
        if set.held_out_ids().is_empty() {
            let notice =
                "no image is held out: the measurements called held_out are of training images";
            (context.observe)(TrainEvent::Notice(notice));
        }
        let held_out = held_out(&batches, &set, config.batch)?;
        device.seed(config.seed);
        let (weights, tuned) = tuning::<F>(&config, &model, device)?;
        let sampler = config.samples.clone().map(|samples| Sampler {
            samples,
            placement,
            folder: context.out.join("samples"),
            seed: config.seed,
            config: config.clone(),
        });
        let task = FineTuneTask {
            family,
            weights,
            held_out,
            by_block: config.gradient_checkpointing,
            sampler,
            right: Mutex::default(),
        };
        Ok((task, tuned, batches))
    }
}

/// Weights in f32 on a device.
fn plain(device: &Device) -> Placement {
    Placement {
        device: device.clone(),
        dtype: FloatDType::F32,
        blocks: BlockStorage::Loaded,
    }
}

/// Batches of held-out examples, each of one size.
fn held_out(batches: &TunedBatches, set: &Dataset, size: usize) -> Result<Vec<TunedBatch>> {
    let ids = held_out_ids(set, HELD_OUT);
    let mut all = Vec::new();
    for bucket in 0..set.sizes().len() {
        let own = ids.iter().copied().filter(|&id| set.bucket(id) == bucket);
        for part in own.collect::<Vec<_>>().chunks(size) {
            let rng = rng_for(0, bucket as u64);
            all.push(batches.of(bucket, part, rng, false)?);
        }
    }
    Ok(all)
}

/// The weights of a transformer, and what is trained of it.
type TunedParts<T> = (Tuning<T>, TunedModel<T>);

/// The weights of the model, and what is trained of it, on an autodiff device.
fn tuning<F: Family>(
    config: &FineTuneConfig,
    model: &Model,
    device: &Device,
) -> Result<TunedParts<F::Transformer>> {
    use burn::module::Module as _;
    let autodiff = device.clone().autodiff();
    if let Some(lora) = &config.lora {
        let placement = Placement {
            dtype: match config.storage {
                Storage::Bf16 | Storage::Stream | Storage::Int8 => FloatDType::BF16,
                Storage::F32 => FloatDType::F32,
            },
            blocks: match config.storage {
                Storage::Int8 => BlockStorage::Int8,
                Storage::Stream => BlockStorage::Streamed,
                Storage::F32 | Storage::Bf16 => BlockStorage::Loaded,
            },
            ..plain(device)
        };
        let wrong = |message: String| TrainError::setting("lora", message);
        let view = Adapted::new(F::load(model, &placement)?, lora).map_err(wrong)?;
        let trained = view.init(lora, &autodiff).map_err(wrong)?;
        return Ok((Tuning::Adapted(view), TunedModel::Adapters(trained)));
    }
    let whole = F::load(model, &plain(device))?.train();
    let (whole, frozen) = freeze(whole, &config.frozen);
    for name in &config.frozen {
        let (_, found) = freeze(whole.clone(), std::slice::from_ref(name));
        ensure!(
            found > 0,
            "frozen: `{name}` is the beginning of no parameter's name; there are {}",
            parts(&whole).join(", ")
        );
    }
    ensure!(
        frozen < whole.num_params(),
        "frozen: nothing is left to train"
    );
    Ok((Tuning::Whole(Whole::default()), TunedModel::Whole(whole)))
}
