use super::*;
use burn::tensor::{Device, Distribution};

#[test]
fn pieces_add_up() {
    let device = Device::flex();
    let all = Tensor::<4>::random([2, 3, 6, 4], Distribution::Default, &device);
    let part = |r: std::ops::Range<usize>| all.clone().slice([0..2, 0..3, r, 0..4]);
    let mut cache = KvCache::new(2, 6);
    assert!(cache.is_empty());
    cache.append(1, part(0..1), part(0..1));
    cache.append(1, part(1..3), part(1..3));
    cache.truncate(1);
    cache.append(1, part(1..3), part(1..3));
    let (last, _) = cache.with_last(1, part(3..6), part(3..6));
    assert_eq!((cache.len(1), cache.len(0)), (3, 0));
    assert_eq!(
        cache.with_last(0, part(0..2), part(0..2)).1.dims(),
        [2, 3, 2, 4]
    );
    last.into_data().assert_eq(&all.clone().into_data(), true);
    let (k, v) = cache.append(1, part(3..6), part(3..6) * 2.0);
    assert_eq!((cache.len(0), cache.len(1)), (0, 6));
    k.into_data().assert_eq(&all.clone().into_data(), true);
    v.slice([0..2, 0..3, 3..6, 0..4])
        .into_data()
        .assert_eq(&(part(3..6) * 2.0).into_data(), true);
}

/// The first rows stay, and there is room for more tokens.
#[test]
fn rows_are_dropped() {
    let device = Device::flex();
    let all = Tensor::<4>::random([2, 3, 4, 4], Distribution::Default, &device);
    let part = |rows, tokens| all.clone().slice_dim(0, rows).slice_dim(2, tokens);
    let mut cache = KvCache::new(2, 2);
    cache.append(1, part(0..2, 0..2), part(0..2, 0..2));
    cache.keep_rows(1, vec![0, 4]);
    let (k, v) = cache.append(1, part(0..1, 2..4), part(0..1, 2..4));
    for kept in [k, v] {
        let expected = part(0..1, 0..4).into_data();
        kept.into_data().assert_eq(&expected, true);
    }
    assert_eq!((cache.len(0), cache.len(1)), (0, 4));
}

/// After a scale a layer has room for what it keeps and no more; the scale itself attends to everything.
#[test]
fn compressed_layers_keep_what_they_may() {
    let device = Device::flex();
    let all = Tensor::<4>::random([2, 3, 14, 4], Distribution::Default, &device);
    let part = |r: std::ops::Range<usize>| all.clone().slice_dim(2, r);
    let mut cache = KvCache::compressed(vec![14, 6]);
    let room = |cache: &KvCache| {
        let layers = cache.layers.iter().flatten();
        layers.map(|l| l.k.dims()[2] + l.v.dims()[2]).sum::<usize>()
    };
    for (side, from, seen, limits) in [(1, 0, [1, 1], None), (2, 1, [5, 5], Some([5, 4]))] {
        let own = from..from + side * side;
        cache.begin(Scale::image(side, side), limits.map(Vec::from));
        for (layer, seen) in seen.into_iter().enumerate() {
            let own = part(own.clone());
            let (k, _) = cache.extend(layer, &own, [own.clone(), own.clone()], false);
            assert_eq!(k.dims()[2], seen);
        }
    }
    assert_eq!((cache.len(0), cache.len(1), room(&cache)), (5, 4, 18));
    cache.begin(Scale::image(3, 3), None);
    let (k, v) = cache.extend(0, &part(5..14), [part(5..14), part(5..14)], true);
    k.into_data().assert_eq(&all.clone().into_data(), true);
    v.into_data().assert_eq(&all.clone().into_data(), true);
    cache.keep_rows(1, vec![14, 6]);
    assert_eq!(room(&cache), 18);
    cache.begin(Scale::image(3, 3), Some(vec![0, 6]));
    let last = part(5..14).slice_dim(0, 0..1);
    for layer in 0..2 {
        let (k, _) = cache.extend(layer, &last, [last.clone(), last.clone()], false);
        assert_eq!(k.dims(), [1, 3, [14, 13][layer], 4]);
    }
    assert_eq!((cache.len(0), cache.len(1), room(&cache)), (0, 6, 12));
    assert!(!cache.is_plain() && KvCache::new(1, 1).is_plain());
}

#[test]
#[should_panic(expected = "made for 2")]
fn too_many_tokens() {
    let x = Tensor::<4>::zeros([1, 1, 3, 2], &Device::flex());
    KvCache::new(1, 2).append(0, x.clone(), x);
}
