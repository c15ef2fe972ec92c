//! The processes that a launcher started, each of which generates a part of the samples.

use std::sync::Arc;

use anyhow::Context as _;
use nextscale_distributed::{DistributedError, Fact, Rank, connect};
use nextscale_models::device::{DeviceChoice, open_local, use_deterministic_kernels};
use nextscale_pipelines::settings::Settings;
use nextscale_pipelines::{Pipeline, PipelineError, Share, Together};
use nextscale_var_core::collective::Collective;

use crate::command::report;

/// The samples of this process; all, unless a launcher started it with others.
pub(crate) fn share() -> anyhow::Result<Share> {
    match Rank::from_environment()? {
        Some(rank) => Ok(share_of(&rank)?),
        None => Ok(Share::default()),
    }
}

fn share_of(rank: &Rank) -> Result<Share, PipelineError> {
    let share = Share::new(rank.rank, rank.world)?;
    Ok(share.with_local_rank(rank.local_rank))
}

/// What the messages of a process begin with: `rank 3: `, and nothing in the first one or in a run of one process.
pub(crate) fn prefix() -> String {
    prefix_of(&Rank::from_environment())
}

fn prefix_of(rank: &Result<Option<Rank>, DistributedError>) -> String {
    match rank {
        Ok(Some(rank)) if !rank.is_first() => format!("rank {}: ", rank.rank),
        _ => String::new(),
    }
}

/// Connects this process with the others, each of which has its own device: for `cuda` and `auto`, the card of its local rank.
///
/// # Errors
/// If there is no such device, or the processes cannot be connected.
pub(crate) fn connect_on(
    rank: &Rank,
    device: DeviceChoice,
    deterministic: bool,
) -> anyhow::Result<Arc<dyn Collective>> {
    // Before a card is opened.
    if deterministic {
        use_deterministic_kernels()?;
    }
    let device = open_local(device, rank.local_rank)?;
    Ok(connect(rank, &device)?)
}

/// Runs `work` on all processes that a launcher started, which it connects, each with the device of its local rank. An error of one
/// ends all.
///
/// # Errors
/// Of one process: no launcher has started others, or they cannot be connected, or what `work` returns.
pub(crate) fn together(
    settings: &Settings,
    work: impl FnOnce(Share, Together) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let rank = Rank::from_environment()?.context(
        "--together is for several processes: start them with mpirun, such as mpirun -n 2 nextscale generate, or, on CUDA cards, with torchrun",
    )?;
    let ranks = connect_on(&rank, settings.device.first(), settings.deterministic)?;
    let share = Share::default().with_local_rank(rank.local_rank);
    if let Err(error) = work(share, Together::new(Arc::clone(&ranks))) {
        // The others would wait for this one for ever.
        report(&error);
        ranks.abort(1);
    }
    Ok(())
}

/// The seed that the first process drew.
pub(crate) fn seed_of_first(together: &Together, own: u64) -> anyhow::Result<u64> {
    let Some(ranks) = together.ranks() else {
        return Ok(own);
    };
    let all = ranks.exchange(&own.to_le_bytes())?;
    Ok(all[0]
        .first_chunk()
        .map_or(own, |bytes| u64::from_le_bytes(*bytes)))
}

/// Compares the pipeline and the version of all processes.
pub(crate) fn agree(together: &Together, pipeline: &Pipeline) -> anyhow::Result<()> {
    let Some(ranks) = together.ranks() else {
        return Ok(());
    };
    let mut facts = vec![Fact::new(
        "the version of the program",
        env!("CARGO_PKG_VERSION"),
    )];
    let resolved = serde_json::to_value(pipeline.resolved()?)?;
    facts.extend(Fact::of_keys(&resolved, "pipeline"));
    Ok(nextscale_distributed::agree(ranks.as_ref(), &facts)?)
}

#[cfg(test)]
mod tests {
    use nextscale_distributed::Launcher;

    use super::*;

    #[test]
    fn a_rank_is_a_share_and_a_prefix() {
        let rank = Rank {
            rank: 5,
            world: 8,
            local_rank: 1,
            local_world: Some(4),
            launcher: Launcher::Torchrun,
        };
        let share = share_of(&rank).unwrap();
        assert_eq!((share.rank(), share.of(), share.local_rank()), (5, 8, 1));
        assert_eq!(prefix_of(&Ok(Some(rank))), "rank 5: ");
        let first = Rank { rank: 0, ..rank };
        assert_eq!(prefix_of(&Ok(Some(first))), "");
        assert_eq!(prefix_of(&Ok(None)), "");
    }
}
