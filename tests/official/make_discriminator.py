#!/usr/bin/env python3
"""Reference values of the patch discriminator, its losses and the adaptive weight, by LlamaGen's own code.

    make_discriminator.py OUT.safetensors --repo DIR

DIR is a checkout of github.com/FoundationVision/LlamaGen. The discriminator has 8 channels and 3 layers. OUT has

- `state.main.*`: the state dict at the start; `real`, `fake` [2, 3, 64, 64]: images
- `logits_real`, `logits_fake` [2, 1, 6, 6]: two passes in training mode, real first; `logits_real_eval`: with the running statistics
- `d_loss` (hinge), `d_loss_vanilla`; `gradient.*` of `d_loss`; `after.main.*`: the running statistics after the two passes
- `g_loss`, the mean of the negated logits of `fake`, and `g_loss_gradient_fake`
- `decoder.0`, `decoder.3`, `z`, `decoded`: conv 3x3, ReLU, nearest x2, conv 3x3, whose last weight is the W of the adaptive weight
- `rec_l1`, `rec_l2`, their gradients and that of `g_loss_decoded` with respect to W, and `adaptive_*`
"""
import argparse
import copy
import importlib.util
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

GRADIENTS = ("main.0.weight", "main.6.weight")


def official(repo):
    sys.path.insert(0, repo)
    if importlib.util.find_spec("kornia") is None:  # only for the StyleGAN discriminator, which is not used here
        import types

        kornia, filters = types.ModuleType("kornia"), types.ModuleType("kornia.filters")
        filters.filter2d = None
        kornia.filters = filters
        sys.modules.update({"kornia": kornia, "kornia.filters": filters})
    from tokenizer.tokenizer_image import vq_loss

    return vq_loss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--repo", required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    code = official(args.repo)
    torch.manual_seed(args.seed)
    torch.set_num_threads(2)

    net = code.PatchGANDiscriminator(input_nc=3, ndf=8, n_layers=3).train()
    with torch.no_grad():
        # The standard deviation at the start, 0.02, keeps all logits near 0. Bigger weights put some of them beyond the
        # hinge on both sides. Norms and running statistics differ from 1 and 0, so that a mistake in them shows.
        for name, p in net.named_parameters():
            if p.ndim == 4:
                p.copy_(torch.randn(p.shape) * (1.5 / p[0].numel() ** 0.5))
            elif name.endswith("weight"):
                p.copy_(1 + 0.2 * torch.randn(p.shape))
            else:
                p.copy_(0.2 * torch.randn(p.shape))
        for name, b in net.named_buffers():
            if name.endswith("running_mean"):
                b.copy_(0.1 * torch.randn(b.shape))
            elif name.endswith("running_var"):
                b.copy_(0.5 + torch.rand(b.shape))
    out = {f"state.{k}": v.clone() for k, v in net.state_dict().items()}
    initial = copy.deepcopy(net)

    real = torch.rand(2, 3, 64, 64) * 2 - 1
    fake = F.avg_pool2d(torch.rand(2, 3, 64, 64) * 4 - 2, 3, stride=1, padding=1).clamp(-1, 1)
    out.update(real=real, fake=fake)

    # Step of the discriminator: two passes, real first, each with the statistics of its own batch.
    logits_real, logits_fake = net(real), net(fake)
    loss = code.hinge_d_loss(logits_real, logits_fake)
    loss.backward()
    out.update(logits_real=logits_real, logits_fake=logits_fake, d_loss=loss)
    out["d_loss_vanilla"] = code.vanilla_d_loss(logits_real, logits_fake)
    grads = dict(net.named_parameters())
    out.update({f"gradient.{k}": grads[k].grad for k in GRADIENTS})
    out.update({f"after.{k}": v for k, v in net.state_dict().items() if "running" in k or "tracked" in k})
    with torch.no_grad():
        out["logits_real_eval"] = copy.deepcopy(initial).eval()(real)

    # Step of the generator.
    net = copy.deepcopy(initial)
    x = fake.clone().requires_grad_(True)
    g_loss = code.hinge_gen_loss(net(x))
    g_loss.backward()
    out.update(g_loss=g_loss, g_loss_gradient_fake=x.grad)

    # Adaptive weight: a decoder of two layers, conv 3x3 (4 to 8), ReLU, nearest x2, conv 3x3 (8 to 3).
    decoder = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(8, 3, 3, padding=1)
    )
    z = torch.randn(2, 4, 32, 32)
    out.update({f"decoder.{k}": v.clone() for k, v in decoder.state_dict().items()}, z=z)
    net = copy.deepcopy(initial)
    decoded = decoder(z)
    last = decoder[3].weight
    g = code.hinge_gen_loss(net(decoded))
    out.update(decoded=decoded, g_loss_decoded=g)
    out["g_gradient_last"] = torch.autograd.grad(g, last, retain_graph=True)[0]
    weight = lambda rec, gen: code.VQLoss.calculate_adaptive_weight(None, rec, gen, last)
    for name, rec in (("l1", F.l1_loss(real, decoded)), ("l2", F.mse_loss(real, decoded))):
        out[f"rec_{name}"] = rec
        out[f"rec_{name}_gradient_last"] = torch.autograd.grad(rec, last, retain_graph=True)[0]
        out[f"adaptive_{name}"] = weight(rec, g)
    # The 1e-4 counts where the generator's gradient is small, and the clamp where the other one is large.
    out["adaptive_l1_small_g"] = weight(out["rec_l1"], g * 1e-3)
    out["adaptive_l1_clamped"] = weight(out["rec_l1"] * 1e6, g * 1e-3)

    out = {k: v.detach().contiguous().clone() for k, v in out.items()}
    for k in sorted(k for k, v in out.items() if v.numel() == 1 and v.is_floating_point()):
        print(f"{k}: {out[k].item():.6f}")
    for k in ("logits_real", "logits_fake"):
        v = out[k]
        beyond = (v > 1) if "real" in k else (v < -1)
        print(f"{k}: {tuple(v.shape)} {v.min():.2f} to {v.max():.2f}, beyond the hinge {beyond.float().mean():.0%}")
    save_file(out, args.out)
    print(f"{len(out)} tensors")


if __name__ == "__main__":
    main()
