//! Processes with cards find each other: each says which card it has, and the first makes the number under which NCCL joins them.

use std::sync::Arc;

use burn::tensor::Device;
use cudarc::nccl::sys::ncclUniqueId;
use nextscale_var_core::collective::Collective;

use crate::error::DistributedError;
use crate::nccl::card::Card;
use crate::nccl::library::Library;
use crate::nccl::line::Line;
use crate::nccl::world::World;
use crate::rank::Rank;

/// Bytes of every rank, by what connects them before NCCL does. The name is used once.
pub(crate) type Exchange<'a> =
    &'a mut dyn FnMut(&str, &[u8]) -> Result<Vec<Vec<u8>>, DistributedError>;

/// Joins the processes of a run. `device` is the card of this one, and `mpi` connects them already, if MPI started them.
///
/// # Errors
/// If there is no NCCL here, or it refuses, or two processes have one card, or `exchange` fails.
pub(crate) fn connect(
    rank: &Rank,
    device: &Device,
    mpi: Option<Arc<dyn Collective>>,
    exchange: Exchange<'_>,
) -> Result<Arc<dyn Collective>, DistributedError> {
    // A rank that has none of what it needs says so, or the others would wait for it.
    let own = Place::of(rank, device);
    let said = match &own {
        Ok(place) => place.told(),
        Err(error) => format!("{REFUSED}{error}"),
    };
    let places = exchange("cards", said.as_bytes())?;
    let Place { library, card, .. } = own?;
    let places: Vec<_> = places
        .iter()
        .map(|place| String::from_utf8_lossy(place).into_owned())
        .collect();
    able(&places)?;
    distinct(&places)?;

    let id = exchange("id", &first_id(rank, library))?.swap_remove(0);
    let id = <[u8; 128]>::try_from(id).map_err(|_| DistributedError::Nccl {
        rank: 0,
        reason: "its NCCL makes no connection".to_owned(),
    })?;
    let own = [rank.rank, rank.world];
    let line = Line::join(library, card, id, own).map_err(|reason| refused(rank, reason))?;
    Ok(Arc::new(World {
        rank: rank.rank,
        world: rank.world,
        line,
        mpi,
    }))
}

/// What a rank that cannot be connected says begins with.
const REFUSED: char = '!';

/// What a process needs.
struct Place {
    library: &'static Library,
    card: Card,
    /// The card's number in the world, in hexadecimal digits.
    identity: String,
}

impl Place {
    fn of(rank: &Rank, device: &Device) -> Result<Self, DistributedError> {
        let library = Library::load()?;
        let refused = |reason| refused(rank, reason);
        let card = Card::of(device).ok_or_else(|| refused("its device is no card".to_owned()))?;
        let card = card.map_err(refused)?;
        let identity = card.identity().map_err(refused)?;
        Ok(Self {
            library,
            card,
            identity,
        })
    }

    /// What the others are told.
    fn told(&self) -> String {
        let host = gethostname::gethostname();
        let host = host.to_string_lossy();
        format!("{} {} {host}", self.identity, self.card.number)
    }
}

fn refused(rank: &Rank, reason: String) -> DistributedError {
    DistributedError::Nccl {
        rank: rank.rank,
        reason,
    }
}

/// The number that the first rank makes; nothing on the others, and if it cannot.
fn first_id(rank: &Rank, library: &Library) -> Vec<u8> {
    if !rank.is_first() {
        return Vec::new();
    }
    let mut id = ncclUniqueId { internal: [0; 128] };
    // SAFETY: it writes its 128 bytes.
    match unsafe { (library.unique_id)(&mut id) } {
        0 => id.internal.iter().map(|byte| *byte as u8).collect(),
        _ => Vec::new(),
    }
}

/// Whether every rank has what it needs.
fn able(places: &[String]) -> Result<(), DistributedError> {
    let reasons = places.iter().map(|place| place.strip_prefix(REFUSED));
    let mut ranks = reasons.enumerate();
    match ranks.find_map(|(rank, reason)| Some((rank, reason?))) {
        None => Ok(()),
        Some((rank, reason)) => Err(DistributedError::Nccl {
            rank,
            reason: reason.to_owned(),
        }),
    }
}

/// NCCL takes one process a card.
fn distinct(texts: &[String]) -> Result<(), DistributedError> {
    let identity = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    for (second, text) in texts.iter().enumerate() {
        let same = |other: &String| identity(other) == identity(text);
        let Some(first) = texts[..second].iter().position(same) else {
            continue;
        };
        let mut words = text.splitn(3, ' ').skip(1);
        let mut word = || words.next().unwrap_or_default().to_owned();
        return Err(DistributedError::SameCard {
            first,
            second,
            card: word(),
            host: word(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: &[&str]) -> Vec<String> {
        all.iter().map(|place| (*place).to_owned()).collect()
    }

    #[test]
    fn two_processes_on_a_card_are_named() {
        distinct(&places(&["aa 0 node1", "bb 1 node1", "cc 0 node2"])).unwrap();
        let told = distinct(&places(&["aa 0 node1", "bb 1 node1", "aa 0 node1"])).unwrap_err();
        assert_eq!(
            told.to_string(),
            "rank 0 and rank 2 both have card 0 of node1, and NCCL takes one process a card: start no more processes on a machine than it has cards, and name no card in --device"
        );
    }

    #[test]
    fn a_rank_without_its_card_is_named() {
        able(&places(&["aa 0 node1", "bb 1 node1"])).unwrap();
        let told = able(&places(&["aa 0 node1", "!its device is no card"])).unwrap_err();
        assert_eq!(
            told.to_string(),
            "rank 1 cannot be connected: its device is no card"
        );
    }
}
