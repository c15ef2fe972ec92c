//! What is recorded of a model as CUDA graphs, lent to one generation at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use burn::tensor::Tensor;
use nextscale_tokenizer::graphs;
use nextscale_var_core::guidance::{Guidance, GuidancePoint};

use super::graph_memory::TEXT_STEP;
use super::model::Infinity;
use super::plan::Plan;
use super::recording::{Kind, Recording};
use super::text::TextState;

/// The most runs of one kind that have to come one after the other before they are recorded.
const MOST_PATIENCE: usize = 64;

/// What is recorded of a model, for one generation at a time.
#[derive(Debug, Clone, Default)]
pub struct Graphs(Arc<Mutex<Store>>);

#[derive(Debug)]
struct Store {
    recording: Option<Recording>,
    /// Whether a generation has it.
    lent: bool,
    /// The last generation, and how many of its kind came one after the other.
    last: Option<(Kind, usize)>,
    /// How many it takes.
    patience: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            recording: None,
            lent: false,
            last: None,
            patience: 1,
        }
    }
}

/// A recording that a generation has until it ends.
#[derive(Debug)]
pub(crate) struct Lease {
    graphs: Graphs,
    recording: Option<Recording>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut store = self.graphs.lock();
        store.recording = self.recording.take();
        store.lent = false;
    }
}

impl Graphs {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is recorded for a generation of prompts with so many tokens, or is to be recorded by it. None where that is not
    /// possible or does not pay.
    pub(crate) fn lend(
        &self,
        model: &Infinity,
        plan: &Plan,
        lens: &[usize],
        guidance: &Guidance,
    ) -> Option<Lease> {
        let in_blocks = |point: &GuidancePoint| *point != GuidancePoint::Logits;
        let mixes = guidance.is_active() && guidance.points.iter().any(in_blocks);
        if !graphs::is_on() || mixes || !model.is_recordable() {
            return None;
        }
        let kind = Kind {
            schedule: plan.schedule().clone(),
            reference: plan.reference(),
            known: plan.known(),
            prompts: lens.len(),
            text: lens.iter().max()?.next_multiple_of(TEXT_STEP),
            thread: thread::current().id(),
        };
        let mut store = self.lock();
        if store.lent {
            return None;
        }
        let mut recording = match store.recording.take() {
            Some(recording) if recording.kind.serves(&kind) => recording,
            Some(other) => {
                let device = other.device();
                drop(other);
                device.memory_cleanup();
                store.patience = (2 * store.patience + 1).min(MOST_PATIENCE);
                store.last = Some((kind, 1));
                return None;
            }
            None => {
                let before = store.last.take().filter(|(last, _)| *last == kind);
                let count = before.map_or(0, |(_, count)| count);
                store.last = Some((kind.clone(), count + 1));
                if count < store.patience {
                    return None;
                }
                Recording::new(model, plan, kind)
            }
        };
        recording.set_lens(lens);
        store.lent = true;
        Some(Lease {
            graphs: self.clone(),
            recording: Some(recording),
        })
    }
}

impl Lease {
    /// The output of the blocks, `[b, l, C]`, of scale `k` with tokens `x`, `[b, l, C]`. Scales come in order.
    pub(super) fn blocks(
        &mut self,
        model: &Infinity,
        k: usize,
        x: Tensor<3>,
        text: &TextState,
        plan: &Plan,
    ) -> Tensor<3> {
        let recording = self.recording.as_mut().expect("there until it is dropped");
        let [b, l, c] = x.dims();
        if k == 0 {
            recording.fill(model, text);
        }
        let rows = x.reshape([b * l, c]);
        recording.scale(model, k, rows, plan).reshape([b, l, c])
    }
}
