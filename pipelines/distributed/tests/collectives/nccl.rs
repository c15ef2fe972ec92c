//! NCCL, between processes that torchrun starts with a card each: `tools/nccl-check`.

use burn::tensor::{Device, DeviceIndex};
use nextscale_distributed::{Rank, connect};

use crate::every::every;

#[test]
#[ignore = "a process of tools/nccl-check"]
fn one_of_all() {
    let rank = Rank::from_environment()
        .unwrap()
        .expect("started by a launcher");
    let device = Device::cuda(DeviceIndex::Specified(rank.local_rank));
    let ranks = connect(&rank, &device).unwrap();
    every(ranks.as_ref(), &rank, &device);
    // What lies elsewhere goes over the card, and back.
    every(ranks.as_ref(), &rank, &Device::flex());
    println!("rank {} of {} is done", rank.rank, rank.world);
}

#[test]
#[ignore = "a process of tools/nccl-check"]
fn two_on_a_card() {
    let rank = Rank::from_environment()
        .unwrap()
        .expect("started by a launcher");
    let device = Device::cuda(DeviceIndex::Specified(0));
    println!("{}", connect(&rank, &device).unwrap_err());
}
