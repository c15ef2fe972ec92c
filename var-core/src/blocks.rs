//! How the blocks of a transformer are stored while it runs: in memory in floating point or as int8, or streamed from
//! their file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{ModuleMapper, Param};
use burn::store::ModuleSnapshot;
use burn::tensor::{DType, Device, Tensor};

use crate::dtype::cast;
use crate::int8::Int8;
use crate::layers::Linear;
use crate::read_ahead::ReadAhead;
use nextscale_tokenizer::cpu::is_cpu;
use nextscale_weights::{WeightError, WeightFile, names, shapes};

/// How the blocks are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BlockStorage {
    /// In memory, in the number format in which the file is read.
    #[default]
    Loaded,
    /// In memory, their matrices as int8 with one factor per output channel, everything else in the number format in
    /// which the file is read.
    Int8,
    /// In their file, from which every pass reads them one after the other, each while the one before computes: the transformer
    /// needs the memory of two blocks, and a pass takes at least as long as reading the file.
    Streamed,
}

/// A block of a transformer.
pub trait Block: ModuleSnapshot + Clone + Send + 'static {
    /// The large matrices.
    fn linears(&mut self) -> Vec<&mut Linear>;

    /// The layers that low-rank adapters may change: the official name of each within the block, and the layers of ours that
    /// it stacks along its output.
    fn adaptable(&mut self) -> Vec<(&'static str, Vec<&mut Linear>)>;
}

/// The same block with all weights in f32.
pub fn in_f32<B: Block>(mut block: B) -> B {
    for linear in block.linears() {
        if let Some(int8) = linear.int8.take() {
            linear.weight = Param::from_tensor(int8.dequantize()).set_require_grad(false);
        }
    }
    block.map(&mut Cast(DType::F32))
}

/// Bytes of a transformer's weights with `blocks` parameters in all blocks, `block` in one of them and `outside` elsewhere.
/// `size` is the bytes of a number.
pub fn bytes(
    storage: BlockStorage,
    blocks: usize,
    block: usize,
    outside: usize,
    size: usize,
) -> usize {
    match storage {
        BlockStorage::Loaded => size * (blocks + outside),
        BlockStorage::Int8 => blocks + size * outside,
        // One computes while the next is read.
        BlockStorage::Streamed => size * (2 * block + outside),
    }
}

type Fresh<B> = Arc<dyn Fn(&Device) -> B + Send + Sync>;
type Reader<B> = ReadAhead<Result<B, WeightError>>;

/// Blocks that stay in their file: each is read while the one before it computes, and dropped after it. If the file is in the
/// system's cache, that costs one copy per pass.
#[derive(Clone)]
pub struct StreamedBlocks<B> {
    source: Source<B>,
    depth: usize,
    device: Device,
    ahead: Arc<Mutex<Option<Reader<B>>>>,
}

/// What blocks are made of.
#[derive(Clone)]
struct Source<B> {
    file: Arc<Mutex<WeightFile>>,
    fresh: Fresh<B>,
}

impl<B: Block> Source<B> {
    fn part(&self, i: usize) -> WeightFile {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.part(&format!("blocks.{i}."))
    }

    /// Reads block `i` to a device.
    fn read(&self, i: usize, device: &Device) -> Result<B, WeightError> {
        let mut block = (self.fresh)(device);
        self.part(i).apply(&mut block)?;
        Ok(block)
    }

    /// Reads block `i` to where it can be moved to a device without work on numbers.
    fn read_near(&self, i: usize, device: &Device) -> Result<B, WeightError> {
        if is_cpu(device) {
            return self.read(i, device);
        }
        let block = self.read(i, &Device::flex())?;
        #[cfg(feature = "cuda")]
        let block = block.map(&mut crate::card::Pinned(device.clone()));
        Ok(block)
    }
}

impl<B> fmt::Debug for StreamedBlocks<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedBlocks")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl<B: Block> StreamedBlocks<B> {
    /// `depth` blocks in `file` under our names, `blocks.I.`; `fresh` makes one whose weights are not initialised yet.
    ///
    /// # Errors
    /// If a tensor is missing, left over, or of another shape. Only names and shapes are read.
    fn new(
        file: WeightFile,
        depth: usize,
        device: &Device,
        fresh: impl Fn(&Device) -> B + Send + Sync + 'static,
    ) -> Result<Self, WeightError> {
        check(&file, depth, &shapes(&fresh(device)))?;
        Ok(Self {
            source: Source {
                file: Arc::new(Mutex::new(file)),
                fresh: Arc::new(fresh),
            },
            depth,
            device: device.clone(),
            ahead: Arc::default(),
        })
    }

    /// Number of blocks.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// A block whose weights are not initialised yet, for its shapes.
    pub fn shape(&self) -> B {
        (self.source.fresh)(&self.device)
    }

    /// Reads block `i`, and from here on the one after it, which comes next; after the last one the first.
    ///
    /// # Errors
    /// If the file can no longer be read, or holds numbers that are not finite.
    pub fn read(&self, i: usize) -> Result<B, WeightError> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.is_none() {
            let (source, device) = (self.source.clone(), self.device.clone());
            // Without a thread each block is read when its turn comes.
            *ahead = ReadAhead::new(move |i| source.read_near(i, &device)).ok();
        }
        let next = (i + 1) % self.depth;
        match ahead.as_mut().and_then(|ahead| ahead.take(i, next)) {
            Some(block) if is_cpu(&self.device) => block,
            // Here, so that it belongs to the work of this thread.
            Some(block) => Ok(block?.to_device(&self.device)),
            None => self.source.read(i, &self.device),
        }
    }

    /// Reads block `i` with its matrices as int8, quantized on the CPU from the numbers in the file.
    fn read_int8(&self, i: usize) -> Result<B, WeightError> {
        let (cpu, mut part) = (Device::flex(), self.source.part(i));
        let rest = part.dtype();
        let mut block = (self.source.fresh)(&cpu);
        let names = names(&block);
        for linear in block.linears() {
            let name = &names[&linear.weight.id];
            let matrix = Int8::of_rows(&part.take(name)?, &self.device);
            linear.store(matrix.ok_or_else(|| WeightError::Numbers {
                path: part.path().to_owned(),
                tensors: vec![format!("blocks.{i}.{name}")],
            })?);
        }
        part.in_dtype(DType::F32).apply(&mut block)?;
        let working = rest.unwrap_or(DType::F32);
        let mut block = block.map(&mut Cast(working));
        if self.device != cpu {
            block = block.to_device(&self.device);
        }
        for linear in block.linears() {
            linear.restore_shape(working, &self.device);
        }
        Ok(block)
    }

    /// Block `i`: read from `stream` if there is one, otherwise one of `loaded`.
    ///
    /// # Panics
    /// If the file was changed or truncated since it was opened, or its numbers are not finite.
    pub fn take<'a>(loaded: &'a [B], stream: Option<&Self>, i: usize) -> Cow<'a, B> {
        match stream {
            Some(stream) => match stream.read(i) {
                Ok(block) => Cow::Owned(block),
                Err(error) => panic!("block {i} can no longer be read: {error}"),
            },
            None => Cow::Borrowed(&loaded[i]),
        }
    }
}

/// Whether `file` has exactly the tensors of `depth` blocks, each with the names and shapes of `block`.
fn check(
    file: &WeightFile,
    depth: usize,
    block: &BTreeMap<String, Vec<usize>>,
) -> Result<(), WeightError> {
    let (mut missing, mut reasons) = (Vec::new(), Vec::new());
    for i in 0..depth {
        for (name, shape) in block {
            let name = format!("blocks.{i}.{name}");
            match file.shape(&name) {
                None => missing.push(name),
                Some(has) if has != *shape => {
                    reasons.push(format!("`{name}` has shape {has:?}, not {shape:?}"));
                }
                Some(_) => {}
            }
        }
    }
    let known = |name: &str| {
        let rest = name.strip_prefix("blocks.").and_then(|n| n.split_once('.'));
        rest.is_some_and(|(i, name)| {
            let inside = i.parse::<usize>().is_ok_and(|i| i < depth);
            inside && block.contains_key(name)
        })
    };
    let unused = file.names().filter(|name| !known(name));
    let unused: Vec<String> = unused.map(str::to_owned).collect();
    let path = file.path().to_owned();
    if !reasons.is_empty() {
        return Err(WeightError::Mismatch { path, reasons });
    }
    if !missing.is_empty() || !unused.is_empty() {
        return Err(WeightError::Keys {
            path,
            missing,
            unused,
        });
    }
    Ok(())
}

/// Casts all parameters.
struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| cast(tensor, self.0))
    }
}

/// A model with blocks.
pub trait Transformer: ModuleSnapshot {
    /// Its blocks.
    type Block: Block;

    /// The loaded blocks, and what reads the streamed ones.
    fn blocks(&self) -> (&[Self::Block], Option<&StreamedBlocks<Self::Block>>);

    /// Number of blocks, loaded or streamed.
    fn depth(&self) -> usize {
        match self.blocks() {
            (_, Some(stream)) => stream.depth(),
            (loaded, None) => loaded.len(),
        }
    }

    /// Block `i`, loaded or streamed.
    ///
    /// # Panics
    /// As [`StreamedBlocks::take`].
    fn block(&self, i: usize) -> Cow<'_, Self::Block> {
        let (loaded, stream) = self.blocks();
        StreamedBlocks::take(loaded, stream, i)
    }

    /// The same as [`Transformer::blocks`], to be changed.
    fn blocks_mut(
        &mut self,
    ) -> (
        &mut Vec<Self::Block>,
        &mut Option<StreamedBlocks<Self::Block>>,
    );
}

/// Stores the matrices of a fresh model's blocks as int8, and all other weights as `dtype`.
pub fn to_int8<M: Transformer>(mut model: M, dtype: DType, device: &Device) -> M {
    let linears = |model: &mut M, change: &dyn Fn(&mut Linear)| {
        let blocks = model.blocks_mut().0.iter_mut();
        blocks.flat_map(Block::linears).for_each(change);
    };
    linears(&mut model, &|linear| linear.quantize(device));
    let mut model = model.map(&mut Cast(dtype));
    linears(&mut model, &|linear| linear.restore_shape(dtype, device));
    model
}

/// Fills a fresh model with the tensors of a file that has our names, and stores its blocks as `storage` says; `fresh` makes
/// one block.
///
/// # Errors
/// If a tensor is missing, left over, or of another shape, or cannot be read.
pub fn fill<M: Transformer>(
    mut model: M,
    mut file: WeightFile,
    storage: BlockStorage,
    device: &Device,
    fresh: impl Fn(&Device) -> M::Block + Send + Sync + 'static,
) -> Result<M, WeightError> {
    if storage == BlockStorage::Loaded {
        file.apply(&mut model)?;
        return Ok(model);
    }
    let depth = std::mem::take(model.blocks_mut().0).len();
    let mut inside = file.part("");
    inside.forget(|name| !name.starts_with("blocks."));
    file.forget(|name| name.starts_with("blocks."));
    file.apply(&mut model)?;
    let blocks = StreamedBlocks::new(inside, depth, device, fresh)?;
    let (loaded, stream) = model.blocks_mut();
    if storage == BlockStorage::Int8 {
        let all: Result<_, WeightError> = (0..depth).map(|i| blocks.read_int8(i)).collect();
        *loaded = all?;
    } else {
        *stream = Some(blocks);
    }
    Ok(model)
}
