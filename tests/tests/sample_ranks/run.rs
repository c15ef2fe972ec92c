//! Runs on ranks that are threads.

use std::sync::Arc;
use std::thread;

use burn::tensor::Tensor;
use nextscale_var_core::collective::Collective;
use nextscale_var_core::sample_ranks::SampleRanks;
use nextscale_var_core::threads;

/// What `run` returns on each of `world` ranks, which share a batch that is `guided` or not.
pub fn on_ranks<T: Send>(
    world: usize,
    guided: bool,
    run: impl Fn(SampleRanks) -> T + Sync,
) -> Vec<T> {
    on(threads::connect(world), guided, run)
}

/// The same on these ranks.
pub fn on<T: Send>(
    ranks: Vec<Arc<dyn Collective>>,
    guided: bool,
    run: impl Fn(SampleRanks) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let run = &run;
        let start = |ranks| scope.spawn(move || run(SampleRanks::new(ranks, guided).unwrap()));
        let threads: Vec<_> = ranks.into_iter().map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

/// Compares numbers to the last bit.
pub fn assert_same<const D: usize>(ours: &Tensor<D>, theirs: &Tensor<D>) {
    assert_eq!(ours.dims(), theirs.dims());
    let bits = |x: &Tensor<D>| -> Vec<u32> {
        let numbers = x.to_data();
        numbers.iter::<f32>().map(f32::to_bits).collect()
    };
    assert!(bits(ours) == bits(theirs), "{ours} and {theirs}");
}
