#!/usr/bin/env python3
"""Fixtures of what VAR is compared with: the forward passes and the samplers of LlamaGen and DiT on random weights.

    make_comparators.py OUT --llamagen DIR --dit DIR

writes OUT/raster-dev and OUT/dit-dev, each with config.json, weights.safetensors and io.safetensors. The official code runs as it is,
with two exceptions: layers that start at zero get random weights, since they would hide the rest, and DiT's guidance acts on all
channels of the latent, not on its first three (`forward_with_cfg` of models.py has a comment on this).
"""
import argparse
import contextlib
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file


def save(folder, config, weights, io):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    plain = lambda tensors: {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain(weights), folder / "weights.safetensors")
    save_file(plain(io), folder / "io.safetensors")


def raster(out, repo):
    sys.path.insert(0, str(repo))
    from autoregressive.models import generate as sampling
    from autoregressive.models.gpt import ModelArgs, Transformer

    torch.manual_seed(1)
    sizes = dict(dim=48, n_layer=2, n_head=3, num_classes=5, vocab_size=40, multiple_of=16)
    args = ModelArgs(**sizes, block_size=16, token_dropout_p=0.0, resid_dropout_p=0.0, ffn_dropout_p=0.0)
    model = Transformer(args)
    torch.nn.init.normal_(model.output.weight, std=0.5)
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.normal_(weight, mean=1.0, std=0.1)
    weights = dict(model.state_dict())
    labels, codes = torch.tensor([3, 5]), torch.randint(0, 40, (2, 16))
    # As in training, but without dropping labels.
    model.cls_embedding.dropout_prob = 0.0
    model.train()
    logits, loss = model(codes[:, :-1], labels, targets=codes)
    model.eval()
    # A context manager of older versions of PyTorch, which only chooses a kernel.
    torch.backends.cuda.sdp_kernel = lambda **_: contextlib.nullcontext()
    with torch.no_grad():
        greedy = sampling.generate(model, torch.tensor([3, 1]), 16, cfg_scale=2.0, sample_logits=False)
    io = dict(labels=labels, codes=codes, logits=logits, loss=loss.reshape(1), ar_labels=torch.tensor([3, 1]), ar_codes=greedy.long())
    save(out / "raster-dev", dict(kind="raster", official="autoregressive.models.gpt.Transformer", cfg=2.0, side=4, **sizes), weights, io)


def dit(out, repo):
    sys.path.insert(0, str(repo))
    from diffusion import create_diffusion
    from models import DiT

    torch.manual_seed(2)
    sizes = dict(input_size=6, patch_size=2, in_channels=4, hidden_size=48, depth=2, num_heads=3, num_classes=5)
    model = DiT(**sizes, learn_sigma=True).eval()
    for name, weight in model.named_parameters():
        if "adaLN_modulation" in name or "final_layer" in name:
            torch.nn.init.normal_(weight, std=0.1)
    x, times, labels = torch.randn(3, 4, 6, 6), torch.tensor([0.0, 333.0, 999.0]), torch.tensor([3, 5, 0])
    cfg, steps = 3.0, 7
    noise, wanted = torch.randn(2, 4, 6, 6), torch.tensor([3, 1])

    def guided(x, t, y):
        both = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, torch.full_like(y, 5)]))
        conditional, unconditional = both.chunk(2)
        return unconditional + cfg * (conditional - unconditional)

    with torch.no_grad():
        predicted = model(x, times, labels)
        diffusion = create_diffusion(str(steps))
        sampled = diffusion.ddim_sample_loop(guided, noise.shape, noise, clip_denoised=False, model_kwargs=dict(y=wanted), device="cpu")
    io = dict(x=x, times=times, labels=labels, predicted=predicted, noise=noise, ddim_labels=wanted, ddim=sampled)
    save(out / "dit-dev", dict(kind="dit", official="models.DiT", cfg=cfg, steps=steps, **sizes), dict(model.state_dict()), io)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--llamagen", type=pathlib.Path, required=True)
    parser.add_argument("--dit", type=pathlib.Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    raster(args.out, args.llamagen)
    dit(args.out, args.dit)


if __name__ == "__main__":
    main()
