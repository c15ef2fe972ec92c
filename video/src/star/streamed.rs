use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;
use nextscale_var_core::import::{WeightError, WeightFile};

use super::{Block, Star, StarConfig};

/// Blocks that stay in their file: each is read when a pass needs it and dropped behind it, so that a transformer takes
/// the memory of one block. Where the file lies in the system's cache that costs a copy a pass.
#[derive(Clone)]
pub struct StreamedBlocks {
    file: Arc<Mutex<WeightFile>>,
    config: StarConfig,
    device: Device,
}

impl fmt::Debug for StreamedBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedBlocks")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl StreamedBlocks {
    /// The blocks of `config` in `file`, whose names are ours, `blocks.I.`.
    ///
    /// # Errors
    /// If a tensor is missing, left over, or of another shape: only names and shapes are read.
    pub(super) fn new(
        file: WeightFile,
        config: &StarConfig,
        device: &Device,
    ) -> Result<Self, WeightError> {
        let wanted = shapes(config);
        let (mut missing, mut reasons) = (Vec::new(), Vec::new());
        for i in 0..config.depth {
            for (name, shape) in &wanted {
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
                let inside = i.parse::<usize>().is_ok_and(|i| i < config.depth);
                inside && wanted.iter().any(|(wanted, _)| *wanted == name)
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
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// Number of blocks.
    pub fn depth(&self) -> usize {
        self.config.depth
    }

    /// Reads block `i`.
    ///
    /// # Errors
    /// If the file can no longer be read, or holds numbers that are none.
    pub fn read(&self, i: usize) -> Result<Block, WeightError> {
        let part = {
            let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.part(&format!("blocks.{i}."))
        };
        let mut block = Block::init(&self.config, &self.device);
        part.apply(&mut block)?;
        Ok(block)
    }
}

/// Names and shapes of a block's tensors in a checkpoint.
fn shapes(config: &StarConfig) -> Vec<(&'static str, Vec<usize>)> {
    let (c, d, m) = (config.width, config.head_dim(), config.mlp_hidden);
    let kv = config.kv_heads * d;
    let mut all = vec![
        ("input_norm.weight", vec![c]),
        ("post_norm.weight", vec![c]),
        ("attention.q.weight", vec![c, c]),
        ("attention.k.weight", vec![kv, c]),
        ("attention.v.weight", vec![kv, c]),
        ("attention.o.weight", vec![c, c]),
        ("attention.q_norm.weight", vec![d]),
        ("attention.k_norm.weight", vec![d]),
        ("mlp.gate.weight", vec![m, c]),
        ("mlp.up.weight", vec![m, c]),
        ("mlp.down.weight", vec![c, m]),
    ];
    if config.attention_bias {
        all.extend([
            ("attention.q.bias", vec![c]),
            ("attention.k.bias", vec![kv]),
            ("attention.v.bias", vec![kv]),
            ("attention.o.bias", vec![c]),
        ]);
    }
    all
}

impl Star {
    /// Number of blocks, loaded or not.
    pub fn depth(&self) -> usize {
        match &self.stream {
            Some(stream) => stream.depth(),
            None => self.blocks.len(),
        }
    }

    /// Numbers a head.
    pub(super) fn head_dim(&self) -> usize {
        match &self.stream {
            Some(stream) => stream.config.head_dim(),
            None => self.blocks[0].attention.q_norm.weight.dims()[0],
        }
    }

    /// Block `i`, read from its file if it is not loaded.
    ///
    /// # Panics
    /// If the file was changed or cut off since it was opened, or its numbers are none.
    pub(super) fn take(&self, i: usize) -> Cow<'_, Block> {
        match &self.stream {
            Some(stream) => match stream.read(i) {
                Ok(block) => Cow::Owned(block),
                Err(error) => panic!("block {i} cannot be read any more: {error}"),
            },
            None => Cow::Borrowed(&self.blocks[i]),
        }
    }
}
