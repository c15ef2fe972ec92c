#!/usr/bin/env python3
"""Merges an adapter into a checkpoint with the official code, and compares with what `nextscale convert --merge-lora` wrote.

    nextscale convert BASE.safetensors --merge-lora ADAPTER -o MERGED.safetensors
    peft_adapter.py --family infinity|var --repo DIR --config JSON --checkpoint BASE.safetensors
        --adapter ADAPTER --merged MERGED.safetensors [--weight WEIGHT]

DIR, JSON and the checkpoint are those of load_official.py. ADAPTER is one of

- a folder of PEFT: the official model is wrapped by `PeftModel.from_pretrained` and merged by `merge_and_unload`. PEFT has to adapt
  exactly the layers that the file has;
- a .safetensors file with the names of kohya's scripts, which plain PyTorch reads: W + weight * alpha / rank * up @ down.

Every tensor of the merged model is compared with the one in MERGED. Prints the largest difference, as a share of the largest number of
its tensor, and exits with 1 above the tolerance: 1e-6 for f32, half a step of the number type for f16 and bf16. `--verbose` prints a line
per tensor.

    peft_adapter.py ... --checkpoint BASE.safetensors --adapter DIR --make RANK [--rslora] [--targets REGEX]

lets PEFT write such a folder with random numbers, so that the reader of `nextscale` meets a file that PEFT wrote.
"""
import argparse
import os
import sys
import tempfile
import warnings

import peft
import torch
from safetensors.torch import load_file

import load_official
import official

TOLERANCES = {torch.float32: 1e-6, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
KOHYA = "lora_unet_"


class Differs(Exception):
    """The merged models are not the same, or the adapter does not fit."""


def layers_of(names, before):
    """The layers that have a tensor with `before` in its name, by their names up to there."""
    return {name.split(before)[0] for name in names if before in name}


def by_peft(model, folder, weight):
    """The model with the adapter merged by PEFT, the names of its layers, and which layers PEFT takes for others."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        wrapped = peft.PeftModel.from_pretrained(model, folder)
    adapted = layers_of((name for name, _ in wrapped.named_parameters()), ".lora_A.")
    given = layers_of(load_file(os.path.join(folder, "adapter_model.safetensors")), ".lora_A.")
    wrong = [f"PEFT does not adapt {name}" for name in sorted(given - adapted)]
    wrong += [f"PEFT adapts {name} too, which the file lacks" for name in sorted(adapted - given)]
    wrong += [f"PEFT warns: {str(one.message).splitlines()[0][:300]}" for one in said if "adapter keys" in str(one.message)]
    for module in wrapped.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.scaling = {name: scale * weight for name, scale in module.scaling.items()}
    return wrapped.merge_and_unload(), {name.removeprefix("base_model.model.") for name in given & adapted}, wrong


def by_hand(model, path, weight):
    """The model with an adapter of kohya's names merged in f64, and the names of its layers."""
    tensors = load_file(path)
    flat = {KOHYA + name.replace(".", "_"): name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    stems = {name.split(".")[0] for name in tensors}
    unknown = sorted(stems - set(flat))
    if unknown:
        raise Differs(f"the model lacks {len(unknown)} of {len(stems)} layers, such as {unknown[0]}")
    for stem in stems:
        down, up, alpha = (tensors[f"{stem}.{part}"].double() for part in ("lora_down.weight", "lora_up.weight", "alpha"))
        layer = model.get_submodule(flat[stem]).weight
        with torch.no_grad():
            layer.copy_(layer.double() + weight * alpha / len(down) * (up @ down))
    return model, {flat[stem] for stem in stems}, []


def compare(state, merged, verbose):
    """The largest difference of a tensor as a share of its largest number, and that tensor's name."""
    missing = [name for name in state if name not in merged]
    if missing:
        raise Differs(f"the merged file lacks {len(missing)} tensors, such as {missing[0]}")
    worst = (0.0, "none", 1.0)
    for name, own in state.items():
        value = merged[name]
        if name == "cfg_uncond":  # cut or extended by the official loader
            rows = min(len(own), len(value))
            own, value = own[:rows], value[:rows]
        if own.shape != value.shape:
            raise Differs(f"{name} has the shape {tuple(value.shape)}, not {tuple(own.shape)}")
        off = (own.double() - value.double()).abs().max() / own.double().abs().max().clamp_min(1e-30)
        tolerance = TOLERANCES[value.dtype]
        worst = max(worst, (off.item() / tolerance, name, tolerance))
        if verbose:
            print(f"{off.item():.1e}  {name}")
    return worst


def make(model, args):
    """Lets PEFT write an adapter with random numbers."""
    config = peft.LoraConfig(r=args.make, lora_alpha=2 * args.make, target_modules=args.targets, use_rslora=args.rslora)
    wrapped = peft.get_peft_model(model, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.02)
    wrapped.save_pretrained(args.adapter)
    print(f"ok {len(layers_of(dict(wrapped.named_parameters()), '.lora_A.'))} layers")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("infinity", "var"), required=True)
    parser.add_argument("--repo", required=True, metavar="DIR")
    parser.add_argument("--config", required=True, metavar="JSON")
    parser.add_argument("--checkpoint", required=True, metavar="FILE")
    parser.add_argument("--adapter", required=True, metavar="DIR|FILE")
    parser.add_argument("--merged", metavar="FILE", help="what nextscale wrote")
    parser.add_argument("--weight", type=float, default=1.0, help="the factor on the adapter, as in FILE:WEIGHT")
    parser.add_argument("--make", type=int, metavar="RANK", help="let PEFT write the adapter instead")
    parser.add_argument("--rslora", action="store_true", help="with --make: the strength over the root of the rank")
    parser.add_argument("--targets", default=r".*blocks.*\.(mat_qkv|fc1)", metavar="REGEX", help="with --make: the layers")
    parser.add_argument("--verbose", action="store_true", help="a line per tensor")
    args = parser.parse_args()
    if (args.make is None) == (args.merged is None):
        parser.error("give either --merged or --make")
    return args


def main():
    args = options()
    if args.family == "infinity":
        load_official.import_transformers()
    official.prepare(args.repo)
    sizes = official.read_config(args.config)
    with tempfile.TemporaryDirectory() as folder:
        model = load_official.load(args.family, sizes, args.checkpoint, folder)
    if args.make is not None:
        return make(model, args)
    try:
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        parameters = {name for name, _ in model.named_parameters()}
        merge = by_peft if os.path.isdir(args.adapter) else by_hand
        model, layers, wrong = merge(model, args.adapter, args.weight)
        state = {name: tensor for name, tensor in model.state_dict().items() if name in parameters}
        unchanged = [name for name in layers if torch.equal(before[f"{name}.weight"], state[f"{name}.weight"])]
        if unchanged:
            raise Differs(f"the adapter does not change {len(unchanged)} of its {len(layers)} layers, such as {min(unchanged)}")
        share, name, tolerance = compare(state, load_file(args.merged), args.verbose)
    except Differs as error:
        print(error)
        return 1
    print(*wrong, sep="\n", end="\n" if wrong else "")
    verdict = "ok" if share <= 1 else "differs"
    print(f"{verdict}: {len(state)} tensors, {len(layers)} of them merged; at most {share * tolerance:.1e} off, in {name}")
    return int(share > 1 or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
