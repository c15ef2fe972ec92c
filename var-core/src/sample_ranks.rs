//! One image or video on several processes.

use std::sync::Arc;

use crate::collective::{Collective, CollectiveError};
use crate::guidance::Halves;
use crate::spread::TokenShare;

/// How ranks share an image or a video. None changes a number: every rank gets the steps of one process, to the last bit.
#[derive(Debug, Clone, Default)]
pub struct SampleRanks {
    /// Where the halves of a guided batch are.
    pub halves: Halves,
    /// The ranks that share the tokens of a half; none if one process has them all. The heads of the model must divide evenly by
    /// their number.
    pub tokens: Option<Arc<dyn Collective>>,
}

impl SampleRanks {
    /// Shares samples between all of `ranks`: the halves of a guided batch first, and the tokens of each half then. Every rank calls
    /// it.
    ///
    /// # Errors
    /// If the ranks cannot talk any more.
    pub fn new(ranks: Arc<dyn Collective>, guided: bool) -> Result<Self, CollectiveError> {
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
    pub fn of_a_half(&self) -> usize {
        self.tokens.as_ref().map_or(1, |ranks| ranks.world())
    }

    /// What this rank has of the tokens of one pass; none if it has them all.
    pub fn share(&self, tokens: usize) -> Option<TokenShare<'_>> {
        let ranks = self.tokens.as_deref()?;
        Some(TokenShare::new(ranks, tokens))
    }

    /// Whether one process does it all.
    pub fn is_alone(&self) -> bool {
        self.halves.are_here() && self.tokens.is_none()
    }
}
