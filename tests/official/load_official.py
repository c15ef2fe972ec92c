#!/usr/bin/env python3
"""Loads a checkpoint with the official code of Infinity or VAR, strictly, on a CPU.

    load_official.py --family infinity|var --repo DIR --checkpoint FILE --config JSON

DIR is a checkout of github.com/FoundationVision/Infinity or VAR, with what it imports installed (flash_attn is not needed).
JSON has the sizes: a nextscale.json, or the config.json of a golden test. The official model is built with random weights, and
the checkpoint is read by what the repository itself calls:

- infinity: `load_infinity` of tools/run_infinity.py. FILE is a .pth, or a folder of shards with an index (as the 8B model is
  released). One .safetensors file, which the official code does not read, is given to it as a folder with one shard.
- var: `torch.load` and `load_state_dict`, as in demo_sample.ipynb, for a .pth; `VARHF.from_pretrained` for a .safetensors.

Infinity's own loader ignores missing and unexpected tensors; here they are errors. Afterwards every tensor of the file is
compared with the one in the model. Prints `ok N tensors`, or the difference and exits with 1.
"""
import argparse
import glob
import json
import os
import sys
import tempfile

import torch
from safetensors.torch import load_file

import official


class Differs(Exception):
    """The checkpoint is not that of the model."""


def tensors_of(path):
    """All tensors of a .pth, a .safetensors or a folder of either, by name."""
    if os.path.isdir(path):
        out = {}
        for name in sorted(glob.glob(os.path.join(path, "*.safetensors")) or glob.glob(os.path.join(path, "*.bin"))):
            out.update(tensors_of(name))
        return out
    if path.endswith(".safetensors"):
        return load_file(path)
    return torch.load(path, map_location="cpu")


def one_shard(path, folder):
    """A folder whose only shard is that file."""
    name = "model-00001-of-00001.safetensors"
    os.symlink(os.path.abspath(path), os.path.join(folder, name))
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {}, "weight_map": {key: name for key in load_file(path)}}, file)
    return folder


def infinity(sizes, path):
    with official.quiet():
        import transformers.modeling_utils
        from transformers import trainer_utils

        # Transformers 5 moved this function away from where the official code looks for it. Strict unlike in the official call.
        def load_shards(model, folder, strict):
            return trainer_utils.load_sharded_checkpoint(model, folder, strict=True)

        transformers.modeling_utils.load_sharded_checkpoint = load_shards
        from tools.run_infinity import Infinity, load_infinity
    plain = Infinity.load_state_dict
    if not os.path.isdir(path):  # shards are each a part, and were compared with the model all together
        Infinity.load_state_dict = lambda self, tensors, strict=True, assign=False: plain(self, tensors, strict=True, assign=assign)
    bits = sizes["bits"] // (4 if sizes["patchify"] else 1)
    with official.quiet():
        return load_infinity(
            rope2d_each_sa_layer=1, rope2d_normalized_by_hw=2, use_scale_schedule_embedding=0, pn="0.06M", use_bit_label=1,
            add_lvl_embeding_only_first_block=1, model_path=path, scale_schedule=None, vae=official.bits_only(bits), device="cpu",
            model_kwargs=dict(depth=sizes["depth"], embed_dim=sizes["width"], num_heads=sizes["heads"], mlp_ratio=sizes["mlp_ratio"],
                              drop_path_rate=0.1, block_chunks=sizes["chunks"]),
            text_channels=sizes["text_channels"], apply_spatial_patchify=sizes["patchify"], use_flex_attn=False, bf16=False,
            checkpoint_type="torch_shard" if os.path.isdir(path) else "torch",
        )


def var(sizes, path):
    with official.quiet():
        from models import var as code
    size = dict(
        num_classes=sizes["classes"], depth=sizes["depth"], embed_dim=sizes["width"], num_heads=sizes["heads"],
        mlp_ratio=sizes["mlp_ratio"], norm_eps=1e-6, shared_aln=sizes["shared_aln"], attn_l2_norm=sizes["cosine"],
        patch_nums=tuple(sizes["scales"]), flash_if_available=False, fused_if_available=False,
    )
    with official.quiet():
        if not path.endswith(".safetensors"):
            model = code.VAR(vae_local=official.codes_only(sizes["vocabulary"], sizes["channels"]), **size)
            model.load_state_dict(torch.load(path, map_location="cpu"), strict=True)
            return model
        vae = dict(vocab_size=sizes["vocabulary"], z_channels=sizes["channels"], ch=32, v_patch_nums=size["patch_nums"])
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(os.path.abspath(path), os.path.join(folder, "model.safetensors"))
            with open(os.path.join(folder, "config.json"), "w") as file:
                json.dump(dict(size, vae_kwargs=vae), file)
            return code.VARHF.from_pretrained(folder, strict=True)


def import_transformers():
    """Must be called before `official.prepare`, whose stand-in for flash_attn Transformers would take for the real one."""
    from transformers import AutoTokenizer, T5EncoderModel, T5TokenizerFast, trainer_utils  # noqa: F401


def load(family, sizes, path, folder):
    """The official model with a checkpoint; `folder` is an empty one for links."""
    if family == "infinity" and path.endswith(".safetensors"):
        path = one_shard(path, folder)
    return (infinity if family == "infinity" else var)(sizes, path)


def compare(model, tensors):
    """Raises unless the model has the numbers of the file, in its own number type."""
    own = model.state_dict()
    for name, value in tensors.items():
        if name not in own:
            continue  # a buffer that the official loader replaces by the model's own; anything else was an error before
        mine = own[name]
        if name == "cfg_uncond":  # cut or extended by the official loader
            rows = min(len(mine), len(value))
            mine, value = mine[:rows], value[:rows]
        if mine.shape != value.shape or not torch.equal(mine, value.to(mine.dtype)):
            raise Differs(f"{name} is not what the file has")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("infinity", "var"), required=True)
    parser.add_argument("--repo", required=True, metavar="DIR")
    parser.add_argument("--checkpoint", required=True, metavar="FILE")
    parser.add_argument("--config", required=True, metavar="JSON")
    parser.add_argument("--verbose", action="store_true", help="where the loader fails, where in its code")
    args = parser.parse_args()
    if args.family == "infinity":
        import_transformers()
    official.prepare(args.repo)
    sizes = official.read_config(args.config)
    tensors = tensors_of(args.checkpoint)
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = load(args.family, sizes, args.checkpoint, folder)
        compare(model, tensors)
    except (RuntimeError, Differs) as error:
        if args.verbose:
            raise
        print(error)
        return 1
    print(f"ok {len(tensors)} tensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
