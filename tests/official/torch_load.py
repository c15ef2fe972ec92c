#!/usr/bin/env python3
"""Checks that PyTorch reads a .pth file of `nextscale train export` as it reads the .safetensors file of the same run.

    nextscale train export RUN --out MODEL.safetensors
    nextscale train export RUN --out MODEL.pth
    torch_load.py MODEL.pth

`torch.load(FILE, weights_only=True)` must give the names, shapes, number types and bytes of the .safetensors file beside it. Prints
`ok N tensors`, or the first difference and exits with 1.
"""
import os
import sys

import torch
from safetensors.torch import load_file


def difference(ours, theirs):
    """What the first difference is, or nothing."""
    if list(map(str, sorted(ours))) != sorted(theirs):
        return f"the names differ: {sorted(set(ours) ^ set(theirs))[:3]}"
    for name, tensor in ours.items():
        other = theirs[name]
        if (tensor.dtype, tensor.shape) != (other.dtype, other.shape):
            return f"{name} is {tensor.dtype} {tuple(tensor.shape)}, not {other.dtype} {tuple(other.shape)}"
        if tensor.contiguous().view(torch.uint8).numpy().tobytes() != other.contiguous().view(torch.uint8).numpy().tobytes():
            return f"{name} has other numbers"
    return None


def main():
    if len(sys.argv) != 2 or not sys.argv[1].endswith(".pth"):
        sys.exit(__doc__)
    path = sys.argv[1]
    ours = torch.load(path, weights_only=True)
    found = difference(ours, load_file(os.path.splitext(path)[0] + ".safetensors"))
    print(found or f"ok {len(ours)} tensors")
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
