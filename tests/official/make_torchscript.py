#!/usr/bin/env python3
"""A TorchScript archive, as OpenAI's files of CLIP are, for tests/tests/formats.rs.

    make_torchscript.py OUT.pt

Every value of tensor `i`, in the order of the names of the state dict, is `i`. Two of the modules are of one class.
"""
import sys

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.zeros(6, 2))
        self.ln = nn.LayerNorm(2)

    def forward(self, x):
        return self.ln(x @ self.in_proj_weight.T[:, :2])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.resblocks = nn.Sequential(Block(), Block())
        self.logit_scale = nn.Parameter(torch.tensor(0.0))
        self.input_resolution = 224
        self.register_buffer("mask", torch.zeros(2, 2))

    def forward(self, x):
        return self.resblocks(x) * self.logit_scale + self.mask


model = Model().half()
for number, name in enumerate(sorted(model.state_dict())):
    model.state_dict()[name].fill_(number)
torch.jit.script(model).save(sys.argv[1])
