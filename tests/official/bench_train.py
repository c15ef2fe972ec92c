#!/usr/bin/env python3
"""Measures full training steps of the official PyTorch code of Infinity or VAR on a CPU, on random inputs.

    bench_train.py --repo DIR [--family infinity|var] [--width 256 --depth 6 --heads 4 --bits 128 --scales 1,2,3,4 --text 256]
        [--vocabulary 512 --channels 16 --classes 10] [--batch 32] [--steps 20] [--warmup 3] [--dtype f32|bf16] [--no-ema]

DIR is a checkout of github.com/FoundationVision/Infinity or VAR. A step is what the official trainers do with the transformer:
forward, cross entropy (of the bits, reweighted by scale, for Infinity; of the codes for VAR), backward, clipping of the
gradients' norm, fused AdamW, and an average of the weights (Infinity's `update_ema`; VAR's trainer has none, so the same is
done for it). Tokenizer and text encoder are not part of it: their outputs are random here. bf16 is PyTorch's autocast, as in the
official trainers. Prints images per second: the batch over the median seconds of a step after the warm-up.
"""
import argparse
import copy
import platform
import random
import resource
import statistics
import sys
import time

import numpy as np
import torch

import official

DEFAULTS = {  # width, depth, heads, scales, peak learning rate, betas, norm of gradients
    "infinity": dict(width=256, depth=6, heads=4, scales="1,2,3,4", lr=6e-3, betas=(0.9, 0.97), clip=5.0),
    "var": dict(width=384, depth=6, heads=6, scales="1,2,3,5,8", lr=1e-4, betas=(0.9, 0.95), clip=2.0),
}
NO_DECAY = {"cfg_uncond", "pos_1LC", "pos_start", "lvl_embed", "gamma", "beta", "ada_gss", "scale_mul", "text_proj_for_sos.ca.mat_q"}


class Infinity:
    """The model, a function that makes a batch, and the loss of one, as in trainer.py of Infinity."""

    def __init__(self, args, sides):
        from infinity.models import basic, infinity as code
        from infinity.models.ema import get_ema_model, update_ema
        from infinity.models.init_param import init_weights
        from infinity.utils.lr_control import filter_params

        self.scales = [(1, n, n) for n in sides]
        # The rotary positions are looked up by schedule.
        code.dynamic_resolution_h_w = {1.0: {"1M": {"scales": self.scales}}}
        self.model = code.Infinity(
            vae_local=official.bits_only(args.bits), text_channels=args.text, text_maxlen=args.text_length, embed_dim=args.width,
            depth=args.depth, num_heads=args.heads, mlp_ratio=4, drop_path_rate=args.drop_path, shared_aln=True, head_aln=True,
            cos_attn=True, use_bit_label=1, add_lvl_embeding_only_first_block=1, rope2d_each_sa_layer=1, rope2d_normalized_by_hw=2,
            pad_to_multiplier=args.pad, block_chunks=1, fused_norm=False, use_flex_attn=False, customized_flash_attn=False,
            raw_scale_schedule=None, pn="1M", train_h_div_w_list=[1.0],
        )
        init_weights(self.model, other_std=(1 / self.model.C / 3) ** 0.5)
        self.model.special_init(aln_init=1e-3, aln_gamma_init=5e-6, scale_head=0.02, scale_proj=1)
        self.ema, self.update_ema = get_ema_model(self.model), update_ema
        dims = {name: p.ndim for name, p in self.model.named_parameters()}
        self.groups = filter_params(self.model, dims, nowd_keys=NO_DECAY)[2]
        self.args, self.length = args, sum(n * n for n in sides)
        self.cross_entropy = torch.nn.CrossEntropyLoss(reduction="none")
        weights = np.concatenate([np.full(n * n, sides[-1] / n) for n in sides])
        self.weights = torch.tensor(weights / weights.sum(), dtype=torch.float32)[None]

    def batch(self):
        args = self.args
        text = torch.randn(args.batch * args.text_length, args.text)
        lengths = [args.text_length] * args.batch
        ends = torch.arange(0, args.batch + 1, dtype=torch.int32) * args.text_length
        inputs = torch.randn(args.batch, self.length - 1, args.bits)
        return (text, lengths, ends, args.text_length), inputs, torch.randint(0, 2, (args.batch, self.length, args.bits))

    def loss(self, text, inputs, bits):
        logits = self.model(text, inputs, scale_schedule=self.scales)
        batch, length, _ = logits.shape
        loss = self.cross_entropy(logits.reshape(batch, length, -1, 2).permute(0, 3, 1, 2), bits).mean(dim=-1)
        return loss.mul(self.weights).sum(dim=-1).mean()


class Var:
    """The same for VAR."""

    def __init__(self, args, sides):
        from models.var import VAR
        from utils.lr_control import filter_params

        self.model = VAR(
            official.codes_only(args.vocabulary, args.channels), num_classes=args.classes, depth=args.depth, embed_dim=args.width,
            num_heads=args.heads, drop_path_rate=args.drop_path, shared_aln=False, cond_drop_rate=0.1, attn_l2_norm=True,
            patch_nums=tuple(sides), flash_if_available=False, fused_if_available=False,
        )
        self.model.init_weights(init_adaln=0.5, init_adaln_gamma=1e-3, init_head=0.02, init_std=-1)
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.groups = filter_params(self.model, nowd_keys=NO_DECAY)[2]
        self.args, self.length = args, self.model.L
        self.cross_entropy = torch.nn.CrossEntropyLoss(reduction="none")

    @staticmethod
    @torch.no_grad()
    def update_ema(ema, model, decay=0.9999):
        for mean, p in zip(ema.parameters(), model.parameters()):
            mean.mul_(decay).add_(p, alpha=1 - decay)

    def batch(self):
        args = self.args
        labels = torch.randint(0, args.classes, (args.batch,))
        return labels, torch.randn(args.batch, self.length - 1, args.channels), torch.randint(0, args.vocabulary, (args.batch, self.length))

    def loss(self, labels, inputs, codes):
        logits = self.model(labels, inputs)
        loss = self.cross_entropy(logits.view(-1, self.args.vocabulary), codes.view(-1)).view(len(codes), -1)
        return loss.mean(dim=-1).mean()


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", required=True, metavar="DIR")
    parser.add_argument("--family", choices=("infinity", "var"), default="infinity")
    for name in ("width", "depth", "heads"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--scales", help="sides of the scales, with commas between them")
    parser.add_argument("--bits", type=int, default=128, help="bits of a token (Infinity)")
    parser.add_argument("--text", type=int, default=256, help="channels of the text's features (Infinity), a multiple of 128")
    parser.add_argument("--text-length", type=int, default=48, help="tokens of each text (Infinity)")
    parser.add_argument("--pad", type=int, default=1, help="pad the sequence to a multiple of this (Infinity; 128 with flex attention)")
    parser.add_argument("--vocabulary", type=int, default=512, help="codes (VAR)")
    parser.add_argument("--channels", type=int, default=16, help="channels of a code (VAR)")
    parser.add_argument("--classes", type=int, default=10, help="classes (VAR)")
    parser.add_argument("--drop-path", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3, help="steps before the measured ones")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lr", type=float, help="learning rate; the default is the official base rate times batch over 256")
    parser.add_argument("--no-ema", action="store_true")
    parser.add_argument("--parts", action="store_true", help="also the seconds of each part of a step")
    args = parser.parse_args()
    args.lr = args.lr or DEFAULTS[args.family]["lr"] * args.batch / 256
    for name, value in DEFAULTS[args.family].items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    return args


def main():
    args = options()
    torch.set_num_threads(args.threads)
    official.prepare(args.repo)
    torch.manual_seed(0)
    random.seed(0)
    sides = [int(n) for n in args.scales.split(",")]
    with official.quiet():
        run = (Infinity if args.family == "infinity" else Var)(args, sides)
    run.model.train()
    optimizer = torch.optim.AdamW(run.groups, lr=args.lr, betas=args.betas, weight_decay=0.0, fused=True)
    for group in optimizer.param_groups:
        group["weight_decay"] = group["wd_sc"] * (0.005 if args.family == "infinity" else 0.05)
    parameters = sum(p.numel() for p in run.model.parameters())
    tokens = run.length
    print(f"{args.family}, {parameters:,} parameters, {tokens} tokens per image, batch {args.batch}, {args.dtype}, {args.threads} threads")
    capability, mkldnn = torch.backends.cpu.get_cpu_capability(), torch.backends.mkldnn.is_available()
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {cpu()}, {capability}, mkldnn {mkldnn}")
    seconds, busy, parts, losses = [], [], [], []
    for _ in range(args.warmup + args.steps):
        batch = run.batch()
        before, marks = time.process_time(), [time.perf_counter()]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
            loss = run.loss(*batch)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), args.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        marks.append(time.perf_counter())
        if not args.no_ema:
            run.update_ema(run.ema, run.model)
        marks.append(time.perf_counter())
        losses.append(loss.item())
        seconds.append(marks[-1] - marks[0])
        busy.append(time.process_time() - before)
        parts.append([b - a for a, b in zip(marks, marks[1:])])
    measured = seconds[args.warmup :]
    median = statistics.median(measured)
    fastest, slowest = min(measured), max(measured)
    print(f"images/s {args.batch / median:.2f} (step: median {median:.3f} s, fastest {fastest:.3f} s, slowest {slowest:.3f} s)")
    # On a machine that does other work too, this one says more: it hardly counts the time that others had the cores.
    cores = statistics.median(busy[args.warmup :])
    print(f"images per core-second {args.batch / cores:.2f} (step: {cores:.3f} core-seconds, {cores / median:.2f} cores used of {args.threads})")
    if args.parts:
        names = ("forward", "backward", "clip and AdamW", "average")
        medians = [statistics.median(part[i] for part in parts[args.warmup :]) for i in range(len(names))]
        print(", ".join(f"{name} {seconds:.3f} s" for name, seconds in zip(names, medians)))
    print(f"loss {losses[0]:.4f} to {losses[-1]:.4f}; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def cpu():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown CPU"


if __name__ == "__main__":
    sys.exit(main())
