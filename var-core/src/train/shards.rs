//! The optimiser's moments in shards, each on one rank (ZeRO, stage 1, arXiv 1910.02054).
//!
//! Parameters are dealt to a fixed number of shards, so that a run goes on with another number of ranks: a rank holds the moments of
//! every shard whose number, modulo the world size, is its own. It updates the parameters of those, and all ranks take each
//! parameter from the rank that updated it.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::checkpoint::TrainError;
use super::optimizer::AdamW;
use super::ranks::Ranks;

/// Shards of every run.
const SHARDS: usize = 64;
/// The file of moments that are in one piece.
const WHOLE: &str = "optimizer.bpk";

/// The optimiser of a trainer.
pub(super) enum Optimizer {
    /// All moments in this process.
    Whole(AdamW),
    /// The moments of some shards.
    Sharded(Sharded),
}

/// The moments of this rank's shards.
pub(super) struct Sharded {
    ranks: Ranks,
    /// The shard of each parameter, in the order of the module.
    shard_of: Vec<usize>,
    /// The optimisers of this rank's shards, in their order.
    own: Vec<AdamW>,
}

impl Optimizer {
    /// Without state. `make` makes an optimiser for the whole model.
    pub fn new<M: Module>(
        model: &M,
        sharded: bool,
        ranks: &Ranks,
        make: impl Fn() -> AdamW,
    ) -> Self {
        if !sharded {
            return Self::Whole(make());
        }
        let own = own_shards(ranks);
        Self::Sharded(Sharded {
            ranks: ranks.clone(),
            shard_of: dealt(model),
            own: own.map(|_| make()).collect(),
        })
    }

    /// One update, as [`AdamW::step`].
    ///
    /// # Errors
    /// If the other ranks cannot be reached.
    pub fn step<M: Module>(
        &mut self,
        rate: f64,
        position: f64,
        model: M,
        gradients: GradientsParams,
    ) -> Result<M, TrainError> {
        match self {
            Self::Whole(adamw) => Ok(adamw.step(rate, position, model, gradients)),
            Self::Sharded(shards) => shards.step(rate, position, model, gradients),
        }
    }

    /// Writes the moments that this process holds into the folder of a checkpoint.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), TrainError> {
        let save = |adamw: &AdamW, path: PathBuf| {
            let saved = adamw.save(&path);
            saved.map_err(TrainError::record(&path))
        };
        match self {
            Self::Whole(adamw) => save(adamw, folder.join(WHOLE)),
            Self::Sharded(shards) => {
                let mut files = shards.files(folder).zip(&shards.own);
                files.try_for_each(|(path, adamw)| save(adamw, path))
            }
        }
    }

    /// Reads what [`save`](Self::save) wrote, on any number of ranks.
    ///
    /// # Errors
    /// If a file cannot be read, or the moments were not written in shards, or only now are not.
    pub fn load(self, folder: &Path) -> Result<Self, TrainError> {
        let load = |adamw: AdamW, path: PathBuf| {
            if !path.is_file() {
                let was = folder.join(WHOLE).is_file();
                return Err(TrainError::Sharding { path, was });
            }
            adamw.load(&path).map_err(TrainError::record(&path))
        };
        Ok(match self {
            Self::Whole(adamw) => Self::Whole(load(adamw, folder.join(WHOLE))?),
            Self::Sharded(shards) => {
                let files: Vec<PathBuf> = shards.files(folder).collect();
                let own = shards.own.into_iter().zip(files);
                let own = own.map(|(adamw, path)| load(adamw, path));
                Self::Sharded(Sharded {
                    own: own.collect::<Result<_, _>>()?,
                    ..shards
                })
            }
        })
    }

    /// Whether every rank has something to write.
    pub fn is_sharded(&self) -> bool {
        matches!(self, Self::Sharded(_))
    }
}

impl Sharded {
    fn step<M: Module>(
        &mut self,
        rate: f64,
        position: f64,
        mut model: M,
        gradients: GradientsParams,
    ) -> Result<M, TrainError> {
        let world = self.ranks.world();
        let mut split = Split {
            from: gradients,
            shard_of: &self.shard_of,
            to: (0..SHARDS).map(|_| GradientsParams::new()).collect(),
            updated: Vec::with_capacity(self.shard_of.len()),
        };
        model.visit(&mut split);
        let Split {
            mut to, updated, ..
        } = split;
        for (shard, adamw) in own_shards(&self.ranks).zip(&mut self.own) {
            let gradients = std::mem::take(&mut to[shard]);
            if !gradients.is_empty() {
                model = adamw.step(rate, position, model, gradients);
            }
        }
        let owner = |place: usize| updated[place].then(|| self.shard_of[place] % world);
        Ok(self.ranks.weights_of(model, &owner)?)
    }

    /// The files of this rank's shards.
    fn files(&self, folder: &Path) -> impl Iterator<Item = PathBuf> {
        own_shards(&self.ranks).map(move |shard| folder.join(format!("optimizer-{shard:02}.bpk")))
    }
}

/// The shards of a rank.
fn own_shards(ranks: &Ranks) -> impl Iterator<Item = usize> + use<> {
    (ranks.rank()..SHARDS).step_by(ranks.world())
}

/// The shard of each parameter: the largest first, each to the shard that has the fewest numbers.
fn dealt<M: Module>(model: &M) -> Vec<usize> {
    let mut sizes = Sizes(Vec::new());
    model.visit(&mut sizes);
    let mut largest_first: Vec<usize> = (0..sizes.0.len()).collect();
    largest_first.sort_by_key(|&place| Reverse(sizes.0[place]));
    let mut filled = [0; SHARDS];
    let mut shard_of = vec![0; sizes.0.len()];
    for place in largest_first {
        let shard = (0..SHARDS).min_by_key(|&shard| filled[shard]).unwrap_or(0);
        shard_of[place] = shard;
        filled[shard] += sizes.0[place];
    }
    shard_of
}

struct Sizes(Vec<usize>);

impl ModuleVisitor for Sizes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.lazy_shape().num_elements());
    }
}

/// Gives each gradient to its shard.
struct Split<'a> {
    from: GradientsParams,
    shard_of: &'a [usize],
    to: Vec<GradientsParams>,
    /// Which parameters have a gradient.
    updated: Vec<bool>,
}

impl ModuleVisitor for Split<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.from.remove::<D>(param.id);
        let shard = self.shard_of[self.updated.len()];
        self.updated.push(gradient.is_some());
        if let Some(gradient) = gradient {
            self.to[shard].register(param.id, gradient);
        }
    }
}
