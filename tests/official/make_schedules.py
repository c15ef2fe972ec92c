#!/usr/bin/env python3
"""Learning rates and weight decays of the official `lr_wd_annealing`: var-core/src/train/schedules.json.

    make_schedules.py OUT.json --var DIR [--infinity DIR --parameters NAMES.json]

DIR are checkouts of github.com/FoundationVision/VAR and Infinity. The function is the same in both; the one of VAR runs. OUT has a
list of cases: the arguments, and rate and decay at each of `steps`. NAMES lists the parameters of small models with and without
weight decay, as the official code sorts them.
"""
import argparse
import json
import sys

import torch

import official

STEPS = 200
AT = [0, 1, 2, 5, 9, 10, 11, 19, 20, 21, 29, 30, 38, 39, 40, 57, 58, 59, 100, 150, 198, 199]
CASES = [  # schedule, peak rate, decay at the start and the end, steps of warm-up, rate at the start and the end (parts of the peak)
    ("lin0", 3e-4, 0.05, 0.05, 4, 0.005, 0.1),  # VAR d16: one fiftieth of the steps is warm-up
    ("lin0", 3.2e-4, 0.05, 0.08, 4, 0.005, 0.01),  # VAR d30
    ("lin0", 6e-3, 0.005, 0.005, 2e-6, 0.005, 1.0),  # Infinity, scripts/train.sh
    ("lin0", 6e-4, 0.005, 0.005, 2, 0.005, 0.3),  # Infinity, defaults of arg_util.py
    ("cos", 1e-3, 0.05, 0.2, 20, 0.005, 0.001),
    ("lin", 1e-3, 0.0, 0.0, 10, 0.01, 0.05),
    ("lin00", 1e-3, 0.1, 0.0, 10, 0.005, 0.0),
    ("lin0.4", 1e-3, 0.05, 0.05, 10, 0.005, 0.01),  # VAR with --pg 0.4
    ("exp", 1e-3, 0.05, 0.05, 10, 0.005, 0.01),
]
KEYS = {  # VAR's train.py, lines 110 to 116
    "cls_token", "start_token", "task_token", "cfg_uncond", "pos_embed", "pos_1LC", "pos_start", "start_pos", "lvl_embed", "gamma",
    "beta", "ada_gss", "moe_bias", "scale_mul",
}


def by_decay(groups, model):
    """The names of the parameters with and without weight decay, from the groups' `wd_sc`."""
    exempt = {id(p) for g in groups if g["wd_sc"] == 0 for p in g["params"]}
    sorted_names = {"no_weight_decay": [], "weight_decay": []}
    for name, parameter in model.named_parameters():
        sorted_names["no_weight_decay" if id(parameter) in exempt else "weight_decay"].append(name)
    return sorted_names


def rates_and_decays(lr_wd_annealing):
    """The cases with what the official function sets."""
    cases = []
    for schedule, peak, decay, decay_end, warmup, start, end in CASES:
        optimizer = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))]}])
        rates, decays = [], []
        for step in AT:
            lr_wd_annealing(schedule, optimizer, peak, decay, decay_end, step, warmup, STEPS, wp0=start, wpe=end)
            rates.append(optimizer.param_groups[0]["lr"])
            decays.append(optimizer.param_groups[0]["weight_decay"])
        case = dict(schedule=schedule, peak=peak, decay=decay, decay_end=decay_end, warmup=warmup, start=start, end=end)
        cases.append(dict(case, rates=rates, decays=decays))
    return cases


def of_var(shared):
    """A small VAR."""
    from models.var import VAR

    size = dict(num_classes=3, depth=1, embed_dim=32, num_heads=2, attn_l2_norm=True, shared_aln=shared, patch_nums=(1, 2))
    return VAR(official.codes_only(16, 4), flash_if_available=False, fused_if_available=False, **size)


def of_infinity():
    """A small Infinity."""
    from infinity.models.infinity import Infinity

    size = dict(text_channels=128, text_maxlen=4, embed_dim=64, depth=1, num_heads=2, shared_aln=True)
    return Infinity(official.bits_only(16), rope2d_each_sa_layer=1, rope2d_normalized_by_hw=2, pn="0.06M", **size)


def forget_var():
    """Both checkouts have packages of the same names."""
    for name in [n for n in sys.modules if n == "dist" or n.split(".")[0] in ("models", "utils")]:
        del sys.modules[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--var", required=True, metavar="DIR")
    parser.add_argument("--infinity", metavar="DIR", help="with --parameters")
    parser.add_argument("--parameters", metavar="FILE", help="also write which parameters have no weight decay")
    args = parser.parse_args()
    if (args.infinity is None) != (args.parameters is None):
        parser.error("--infinity and --parameters belong together")
    official.prepare(args.var)
    with official.quiet():
        from utils.lr_control import filter_params, lr_wd_annealing

        cases = rates_and_decays(lr_wd_annealing)
    with open(args.out, "w") as file:
        json.dump({"max_steps": STEPS, "steps": AT, "cases": cases}, file)
    if args.parameters is None:
        return
    sorted_names = {}
    with official.quiet():
        for name, shared in (("var", False), ("var_shared_aln", True)):
            model = of_var(shared)
            sorted_names[name] = by_decay(filter_params(model, nowd_keys=KEYS)[2], model)
    forget_var()
    sys.path.insert(0, args.infinity)
    with official.quiet():
        from infinity.utils.lr_control import filter_params

        model = of_infinity()
        dims = {n: p.ndim for n, p in model.named_parameters()}
        groups = filter_params(model, dims, nowd_keys=KEYS | {"text_proj_for_sos.ca.mat_q"})[2]
        sorted_names["infinity"] = by_decay(groups, model)
    with open(args.parameters, "w") as file:
        json.dump(sorted_names, file, indent=1)


if __name__ == "__main__":
    main()
