//! Scales recorded as CUDA graphs, from the second image of a size on.
//!
//! A small scale has next to no arithmetic: launching the kernels of its blocks one by one takes longer than they do. Recorded, they
//! are launched at once. A graph uses the same memory each time, so all that its kernels read and write is kept from image to image
//! and filled anew: what blocks keep of the prompts, the mask of the text, keys and values, inputs.

use nextscale_var_core::blocks::Transformer as _;
use std::thread::{self, ThreadId};

use burn::tensor::{Bool, Device, Tensor, TensorData};
use nextscale_tokenizer::{Scale, ScaleSchedule};
use nextscale_var_core::attention::{PassContext, operands};
use nextscale_var_core::cache::KvCache;
use nextscale_var_core::card::graph::{Graph, record};
use nextscale_var_core::card::stream::{Kept, Stream};
use nextscale_var_core::card::{place, place_mask, runs};
use nextscale_var_core::layers::working_dtype;
use nextscale_var_core::matmul::Precision;
use nextscale_var_core::rope::RopeTable;

use super::card::Condition;
use super::graph_memory::recorded_scales;
use super::model::Infinity;
use super::plan::Plan;
use super::text::TextState;

/// What generations have in common that use the same recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub schedule: ScaleSchedule,
    pub reference: Scale,
    pub known: usize,
    pub prompts: usize,
    /// Room for tokens of text.
    pub text: usize,
    /// Graphs are ordered among the work of the thread that recorded them.
    pub thread: ThreadId,
}

impl Kind {
    /// Whether what is recorded for this kind serves another one.
    pub fn serves(&self, other: &Self) -> bool {
        let room = self.text.max(other.text);
        let with_room = |kind: &Self| Self {
            text: room,
            ..kind.clone()
        };
        self.text >= other.text && with_room(self) == with_room(other)
    }
}

/// Scales of one kind of generation.
#[derive(Debug)]
pub(super) struct Recording {
    pub kind: Kind,
    tensors: Tensors,
    scales: Vec<Slot>,
    /// Tokens of the prompts of this generation.
    lens: Vec<usize>,
}

/// What the kernels of all scales use besides the weights.
#[derive(Debug)]
struct Tensors {
    conditions: Vec<Condition>,
    /// `[b, 1, 1, l]`, true after the end of a prompt.
    hidden: Tensor<4, Bool>,
    cache: KvCache,
}

/// What becomes of a scale.
#[derive(Debug)]
enum Slot {
    /// Its kernels are launched one by one.
    Launched,
    /// It is recorded when its turn comes.
    ToRecord,
    Recorded(Box<Recorded>),
}

#[derive(Debug)]
struct Recorded {
    graph: Graph,
    /// `[b l, C]`.
    input: Tensor<2>,
    /// `[b l, C]`.
    output: Tensor<2>,
    /// What the graph was made of is kept with it.
    _pass: Pass,
}

/// One scale.
#[derive(Debug)]
struct Pass {
    rope: RopeTable,
    precision: Precision,
    images: usize,
    /// Tokens of the scales before.
    start: usize,
    last: bool,
}

impl Recording {
    /// Memory for a generation of this kind; nothing is recorded yet.
    pub fn new(model: &Infinity, plan: &Plan, kind: Kind) -> Self {
        let device = model.pos_start.val().device();
        // The pages that the keys and values of the last image lay in.
        device.memory_cleanup();
        let block = model.block(0);
        let [c, _] = block.sa.q.weight.dims();
        let heads = block.sa.heads;
        let shape = [kind.prompts, heads, c / heads];
        let like = (&device, operands(working_dtype(&block.sa.q)));
        let capacity = plan.schedule().kept_tokens();
        let recorded = recorded_scales(c, plan.schedule(), kind.prompts);
        let (prompts, text) = (kind.prompts, kind.text);
        let tensors = device.memory_persistent_allocations((), |()| Tensors {
            conditions: Vec::with_capacity(model.depth()),
            hidden: hidden(&vec![text; prompts], text, &device),
            cache: KvCache::fixed(model.depth(), capacity, shape, like),
        });
        let slot = |small| {
            if small {
                Slot::ToRecord
            } else {
                Slot::Launched
            }
        };
        Self {
            kind,
            tensors,
            scales: recorded.into_iter().map(slot).collect(),
            lens: vec![],
        }
    }

    /// Takes the tokens of the prompts of a generation.
    pub fn set_lens(&mut self, lens: &[usize]) {
        self.lens = lens.to_vec();
    }

    /// The card.
    pub fn device(&self) -> Device {
        self.tensors.hidden.device()
    }

    /// Takes what blocks keep of the prompts of an image.
    pub fn fill(&mut self, model: &Infinity, text: &TextState) {
        let Tensors {
            conditions, hidden, ..
        } = &mut self.tensors;
        let device = hidden.device();
        let mask = self::hidden(&self.lens, self.kind.text, &device);
        *hidden = place_mask(hidden.clone(), mask);
        for layer in 0..model.depth() {
            let fresh = Condition::new(&model.block(layer), text);
            match conditions.get_mut(layer) {
                Some(kept) => kept.fill(&fresh),
                None => {
                    let room = self.kind.text;
                    let kept = device.memory_persistent_allocations((), |()| fresh.with_room(room));
                    conditions.push(kept);
                }
            }
        }
    }

    /// `x`, `[b l, C]`, after the blocks of scale `k`.
    pub fn scale(&mut self, model: &Infinity, k: usize, x: Tensor<2>, plan: &Plan) -> Tensor<2> {
        let here = thread::current().id() == self.kind.thread;
        if let Slot::Recorded(recorded) = &mut self.scales[k]
            && here
        {
            recorded.input = place(recorded.input.clone(), x.clone(), 1);
            // SAFETY: all tensors that it used live as long as it does, or are weights of the model, and only this thread uses
            // them.
            if unsafe { recorded.graph.replay() } {
                return recorded.output.clone();
            }
            self.scales[k] = Slot::Launched;
        }
        let pass = Pass::new(plan, k, self.kind.prompts);
        if matches!(self.scales[k], Slot::ToRecord) && here {
            self.scales[k] = match self.tensors.record(model, &x, &pass) {
                Some(recorded) => Slot::Recorded(Box::new(recorded)),
                None => Slot::Launched,
            };
            // What was recorded has not happened yet.
            if let Slot::Recorded(recorded) = &self.scales[k] {
                // SAFETY: as above.
                if unsafe { recorded.graph.replay() } {
                    return recorded.output.clone();
                }
                self.scales[k] = Slot::Launched;
            }
        }
        self.tensors.launch(model, x, &pass)
    }
}

impl Tensors {
    fn record(&mut self, model: &Infinity, x: &Tensor<2>, pass: &Pass) -> Option<Recorded> {
        let device = x.device();
        let (input, pass) = device.memory_persistent_allocations((), |()| {
            let room = Tensor::empty(x.dims(), (&device, x.dtype()));
            (place(room, x.clone(), 1), pass.kept())
        });
        let work = || self.launch(model, input.clone(), &pass);
        let (graph, output) = record(&device, work)?;
        Some(Recorded {
            graph,
            input,
            output,
            _pass: pass,
        })
    }

    /// Launches the kernels of the blocks, for `x`, `[b l, C]`. The same a second time.
    fn launch(&mut self, model: &Infinity, x: Tensor<2>, pass: &Pass) -> Tensor<2> {
        let Self {
            conditions,
            hidden,
            cache,
        } = self;
        cache.set_len(pass.start);
        let context = PassContext {
            rope: Some(&pass.rope),
            causal: None,
            precision: pass.precision,
            share: None,
        };
        let dtype = working_dtype(&model.block(0).sa.q);
        let mut stream = Stream::new(x, conditions[0].before(), dtype);
        for layer in 0..conditions.len() {
            // The norm after the last block is not used.
            let next = (layer + 1).min(conditions.len() - 1);
            let both = [&conditions[layer], &conditions[next]];
            let kept = Kept {
                cache,
                layer,
                last: pass.last,
            };
            let block = model.block(layer);
            stream = block.pass(stream, pass.images, both, Some(hidden), context, kept);
        }
        stream.x
    }
}

impl Pass {
    fn new(plan: &Plan, k: usize, images: usize) -> Self {
        Self {
            rope: plan.rope_of(k),
            precision: plan.precision,
            images,
            start: plan.start_of(k),
            last: k + 1 == plan.schedule().len(),
        }
    }

    /// The same with tables in memory of their own.
    fn kept(&self) -> Self {
        Self {
            rope: self.rope.copied(),
            ..*self
        }
    }
}

/// Hides the text after the end of each prompt, `[b, 1, 1, width]`.
fn hidden(lens: &[usize], width: usize, device: &Device) -> Tensor<4, Bool> {
    let after = |&len: &usize| (0..width).map(move |i| i >= len);
    let hidden: Vec<bool> = lens.iter().flat_map(after).collect();
    Tensor::from_data(TensorData::new(hidden, [lens.len(), 1, 1, width]), device)
}

impl Infinity {
    /// Whether its blocks can be recorded: they are loaded, on a card, and each of their layers is one operation.
    pub(super) fn is_recordable(&self) -> bool {
        let on_card = runs(&self.pos_start.val());
        on_card && self.stream.is_none() && self.blocks.iter().all(super::block::Block::passes)
    }
}
