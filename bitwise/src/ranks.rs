//! One image on several processes.

use std::sync::Arc;

use nextscale_var_core::collective::{Collective, CollectiveError};
use nextscale_var_core::guidance::Halves;

/// How the ranks of an image share it. None changes a number: every rank gets the steps of one process, to the last bit.
#[derive(Debug, Clone, Default)]
pub struct ImageRanks {
    /// Where the halves of a guided batch are.
    pub halves: Halves,
    /// The ranks that share the tokens of a half; none if one process has them all. The heads of the model must divide evenly by
    /// their number.
    pub tokens: Option<Arc<dyn Collective>>,
}

impl ImageRanks {
    /// Shares images between all of `ranks`: the halves of a guided batch first, and the tokens of each half then. Every rank calls
    /// it.
    ///
    /// # Errors
    /// If the ranks cannot talk any more.
    pub fn share(ranks: Arc<dyn Collective>, guided: bool) -> Result<Self, CollectiveError> {
        let (rank, world) = (ranks.rank(), ranks.world());
        let spread = |ranks: Arc<dyn Collective>| (ranks.world() > 1).then_some(ranks);
        if !(guided && world.is_multiple_of(2)) {
            return Ok(Self {
                halves: Halves::Here,
                tokens: spread(ranks),
            });
        }
        let half = world / 2;
        // The ranks of a half are next to each other, on one machine if it has as many.
        let tokens = ranks.split(rank / half)?;
        let pair = ranks.split(rank % half)?;
        Ok(Self {
            halves: Halves::on_ranks(pair),
            tokens: spread(tokens),
        })
    }

    /// Ranks that share the tokens of a half.
    pub fn shares(&self) -> usize {
        self.tokens.as_ref().map_or(1, |ranks| ranks.world())
    }

    /// Whether one process does it all.
    pub fn is_alone(&self) -> bool {
        matches!(self.halves, Halves::Here) && self.tokens.is_none()
    }
}
