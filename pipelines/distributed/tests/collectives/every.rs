//! Every collective, against its result on one process.

use burn::tensor::{Device, Tensor};
use nextscale_distributed::{Fact, Rank, agree};
use nextscale_var_core::collective::Collective;

fn numbers(x: Tensor<1>) -> Vec<f32> {
    x.into_data().iter().collect()
}

fn tensor(numbers: impl IntoIterator<Item = f32>, device: &Device) -> Tensor<1> {
    let numbers: Vec<f32> = numbers.into_iter().collect();
    Tensor::from_data(numbers.as_slice(), device)
}

/// Panics where a collective of `ranks` gives anything else than it should, with tensors on `device`.
pub fn every(ranks: &dyn Collective, rank: &Rank, device: &Device) {
    assert_eq!((ranks.rank(), ranks.world()), (rank.rank, rank.world));
    sums_and_parts(ranks, device);
    large(ranks, device);
    messages(ranks);
    groups(ranks, device);
}

fn sums_and_parts(ranks: &dyn Collective, device: &Device) {
    let (own, world) = (ranks.rank(), ranks.world());
    let n = own as f32;
    let last = (world - 1) as f32;
    let sum = ranks.all_reduce(tensor([n, 1.0], device)).unwrap();
    assert_eq!(numbers(sum), [last * world as f32 / 2.0, world as f32]);
    let sent = ranks.broadcast(tensor([n, -n], device), world - 1).unwrap();
    assert_eq!(numbers(sent), [last, -last]);
    let all = ranks.all_gather(tensor([n, n + 0.5], device)).unwrap();
    let expected: Vec<f32> = (0..world)
        .flat_map(|i| [i as f32, i as f32 + 0.5])
        .collect();
    assert_eq!(numbers(all), expected);
    // To rank `i` the number `10 own + i`.
    let sent = (0..world).map(|i| 10.0 * n + i as f32);
    let received = ranks.all_to_all(tensor(sent, device)).unwrap();
    let expected: Vec<f32> = (0..world).map(|i| 10.0 * i as f32 + n).collect();
    assert_eq!(numbers(received), expected);
    let uneven = tensor(vec![0.0; world + 1], device);
    let uneven = ranks.all_to_all(uneven).unwrap_err();
    assert!(uneven.to_string().contains("equal parts"), "{uneven}");
    let whole = tensor([n], device).cast(burn::tensor::DType::F16);
    let half = ranks.all_reduce(whole).unwrap_err();
    assert!(half.to_string().contains("F16"), "{half}");
}

/// More numbers than fit into one packet, which were computed just before and are a part of something.
fn large(ranks: &dyn Collective, device: &Device) {
    let (own, world) = (ranks.rank(), ranks.world());
    let count = 300_000;
    let ramp = |from: usize| (0..count).map(move |i| ((i * 7 + from * 13) % 1001) as f32);
    let doubled = |from: usize| {
        let whole: Vec<f32> = [-1.0].into_iter().chain(ramp(from)).collect();
        tensor(whole, device).slice([1..=count]) * 2.0
    };
    let sum = ranks.all_reduce(doubled(own)).unwrap() + 1.0;
    let expected: Vec<f32> = (0..count)
        .map(|i| {
            (0..world)
                .map(|r| ((i * 7 + r * 13) % 1001) as f32 * 2.0)
                .sum::<f32>()
                + 1.0
        })
        .collect();
    assert!(numbers(sum) == expected, "sums");
    let all = numbers(ranks.all_gather(doubled(own)).unwrap());
    let expected = (0..world).flat_map(|r| ramp(r).map(|x| x * 2.0));
    assert!(all.into_iter().eq(expected), "all");
}

fn messages(ranks: &dyn Collective) {
    let own = ranks.rank();
    // Of different lengths, empty ones too, and long ones.
    for length in [1, 300, 70_000] {
        let all = ranks.exchange(&vec![7; own * length]).unwrap();
        let expected = |i: usize| vec![7; i * length];
        assert!(
            all.iter()
                .enumerate()
                .all(|(i, bytes)| *bytes == expected(i))
        );
    }
    assert!(ranks.exchange(&[]).unwrap().iter().all(Vec::is_empty));
    ranks.barrier().unwrap();

    let fact = |value: usize| {
        [
            Fact::new("the version", "1"),
            Fact::new("the size", value.to_string()),
        ]
    };
    agree(ranks, &fact(3)).unwrap();
    let differs = agree(ranks, &fact(own)).unwrap_err();
    assert_eq!(
        differs.to_string(),
        "the size differs: rank 0 has 0, rank 1 has 1; start all processes with the same program, files and options"
    );
}

/// Ranks of the same parity, and each alone.
fn groups(ranks: &dyn Collective, device: &Device) {
    let (own, world) = (ranks.rank(), ranks.world());
    let half = ranks.split(own % 2).unwrap();
    assert_eq!(
        (half.rank(), half.world()),
        (own / 2, (world + 1 - own % 2) / 2)
    );
    let sum = half.all_reduce(tensor([own as f32], device)).unwrap();
    let expected: usize = (0..world).filter(|i| i % 2 == own % 2).sum();
    assert_eq!(numbers(sum), [expected as f32]);
    let alone = ranks.split(own).unwrap();
    assert_eq!((alone.rank(), alone.world()), (0, 1));
    assert_eq!(alone.exchange(&[own as u8]).unwrap(), [[own as u8]]);
}
