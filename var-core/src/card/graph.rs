//! CUDA graphs: the launches of a piece of work, recorded once and launched again at once.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::{Backend, BackendGraph, Dispatch};
use burn::tensor::Device;
use nextscale_tokenizer::graphs;

/// Recorded launches. They read and write the same memory each time.
pub struct Graph {
    launches: BackendGraph<Dispatch>,
    device: Device,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

/// Runs `work` once as usual and a second time to record it, and returns what the second run returned: memory that the first
/// [`Graph::replay`] fills. None if it could not be recorded; then what the work writes has to be written again before it is
/// read.
///
/// Both runs have to make the same launches, without reading back. While the second one is recorded, other threads of this
/// program wait before they use the card.
pub fn record<T: Send>(device: &Device, work: impl FnMut() -> T + Send) -> Option<(Graph, T)> {
    let _alone = graphs::alone();
    // What is taken in between lies in memory of its own: the graph keeps it from all others.
    device.memory_persistent_allocations(work, |mut work| record_alone(device, &mut work))
}

fn record_alone<T>(device: &Device, work: &mut impl FnMut() -> T) -> Option<(Graph, T)> {
    let card = device.as_dispatch();
    Dispatch::graph_prepare(card).ok()?;
    let first = catch_unwind(AssertUnwindSafe(&mut *work));
    let works = device.sync().is_ok() && first.is_ok();
    // The second run takes its memory.
    drop(first);
    if !works || Dispatch::graph_start_capture(card).is_err() {
        let _ = Dispatch::graph_stop_capture(card);
        return None;
    }
    let second = catch_unwind(AssertUnwindSafe(work));
    let launches = Dispatch::graph_stop_capture(card);
    let graph = Graph {
        launches: launches.ok()?,
        device: device.clone(),
    };
    Some((graph, second.ok()?))
}

impl Graph {
    /// Launches the recorded work; whether that was possible. If not, what it writes is as it was.
    ///
    /// # Safety
    /// Every tensor that the work used and that it did not make itself must still exist, in the buffer in which it was, and must
    /// only be used by this thread, which must be the one that recorded.
    pub unsafe fn replay(&self) -> bool {
        // SAFETY: the caller promises the same.
        unsafe { Dispatch::graph_replay(self.device.as_dispatch(), &self.launches) }.is_ok()
    }
}
