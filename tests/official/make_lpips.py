#!/usr/bin/env python3
"""Reference values of LPIPS (VGG16) with weights that any language can make again.

    make_lpips.py OUT.safetensors

The network is the one of the package lpips (`pip install lpips`). Its weights and the images come from SplitMix64 (see `values`), so
nothing is downloaded, and a port need not read them from a file:

- tensor 2c, c = 0..12: the weight of convolution c, [out, in, 3, 3], v * 2 sqrt(6 / (9 in)); tensor 2c + 1: its bias, v * 0.1
- tensor 26 + k, k = 0..4: the weight of lin k, [1, channels, 1, 1], |v| * 2
- tensors 100 and 101: the images x0 and x1, [2, 3, 64, 64], v * 2

OUT has `x0`, `x1`; `distance` [2]; `layers` [5, 2], the terms of the distance; `features` [5, 64], the first numbers of each layer for
image 0 of x0; and `gradient`, that of distance[0] + distance[1] with respect to x0.
"""
import argparse

import numpy as np
import torch
from safetensors.torch import save_file

import lpips

# Indices of the convolutions in torchvision's vgg16().features, and the slice of lpips.pretrained_networks.vgg16
# that each is in.
CONVS = [(0, 1), (2, 1), (5, 2), (7, 2), (10, 3), (12, 3), (14, 3), (17, 4), (19, 4), (21, 4), (24, 5), (26, 5), (28, 5)]
LAYERS = 5
# Tensor numbers: 2c is the weight of convolution c, 2c + 1 its bias, 26 + k the weight of lin k.
LIN = 2 * len(CONVS)
INPUT = 100


def splitmix64(x):
    """The output function of SplitMix64 for the state x, on arrays of uint64 (all arithmetic modulo 2^64)."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def values(number, shape):
    """Values in [-0.5, 0.5) in f64: element i (row-major) of tensor `number`."""
    i = np.arange(np.prod(shape), dtype=np.uint64)
    with np.errstate(over="ignore"):
        u = splitmix64(np.uint64(number * 2**32) + i)
    return ((u >> np.uint64(40)).astype(np.float64) / 2.0**24 - 0.5).reshape(shape)


def f32(array):
    return torch.from_numpy(array.astype(np.float32))


def network():
    net = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False).eval()
    with torch.no_grad():
        for c, (index, part) in enumerate(CONVS):
            conv = getattr(net.net, f"slice{part}").get_submodule(str(index))
            fan_in = conv.weight[0].numel()
            conv.weight.copy_(f32(values(2 * c, tuple(conv.weight.shape)) * (2.0 * np.sqrt(6.0 / fan_in))))
            conv.bias.copy_(f32(values(2 * c + 1, tuple(conv.bias.shape)) * 0.1))
        for k in range(LAYERS):
            weight = net.lins[k].model[1].weight
            weight.copy_(f32(np.abs(values(LIN + k, tuple(weight.shape))) * 2.0))
    return net


def run(net, x0, x1):
    x0 = x0.clone().requires_grad_(True)
    distance, layers = net(x0, x1, retPerLayer=True)
    distance.sum().backward()
    features = net.net(net.scaling_layer(x0.detach()))
    norms = [f.norm(dim=1).min().item() for f in features]
    return {
        "distance": distance.detach().flatten(),
        "layers": torch.stack([l.detach().flatten() for l in layers]),
        "features": torch.stack([f.detach()[0].flatten()[:64] for f in features]),
        "gradient": x0.grad,
    }, features, norms


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    args = parser.parse_args()
    torch.set_num_threads(2)
    net = network()
    x0 = f32(values(INPUT, (2, 3, 64, 64)) * 2.0)
    x1 = f32(values(INPUT + 1, (2, 3, 64, 64)) * 2.0)
    result, features, norms = run(net, x0, x1)
    for name, f, norm in zip("12345", features, norms):
        print(f"layer {name}: {tuple(f.shape)} mean {f.mean():.3f} std {f.std():.3f}, smallest norm of a position {norm:.4f}")
    assert all(torch.isfinite(v).all() for v in result.values())
    print("distance", result["distance"].tolist())
    print("layers", result["layers"].tolist())
    print("gradient: largest", result["gradient"].abs().max().item(), "norm", result["gradient"].norm().item())

    exact, _, _ = run(net.double(), x0.double(), x1.double())
    for name in result:
        error = (result[name].double() - exact[name]).abs().max().item()
        print(f"{name}: f32 differs from f64 by at most {error:.2e}; largest value {exact[name].abs().max().item():.3e}")

    save_file({"x0": x0, "x1": x1, **{k: v.contiguous() for k, v in result.items()}}, args.out)


if __name__ == "__main__":
    main()
