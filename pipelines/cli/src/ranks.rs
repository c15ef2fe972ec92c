//! The processes that a launcher started, each of which generates a part of the samples.

use nextscale_distributed::{DistributedError, Rank};
use nextscale_pipelines::{PipelineError, Share};

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
