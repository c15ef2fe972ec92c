#!/usr/bin/env python3
"""Reference values of the metrics, with weights, features and images that any language can make again.

    make_metrics.py OUT.json

Beside it OUT.npz is written, with what ADM's reference batches hold, by NumPy.
Needs pytorch-fid, torch-fidelity, clean-fid, openai-clip, lpips and scikit-image. Nothing is downloaded: numbers come from
SplitMix64 (`values` of make_lpips.py), where the number of a tensor is the 32-bit FNV-1a hash of its name.

- a convolution or a matrix: v * 2 sqrt(6 / fan in); other weights of norms: 1 + v * 0.4; running variances: 1 + v * 0.4; all else: v * 0.4
- image `name`, [h, w, 3]: the upper 8 bits of each hash, averaged over the 3 x 3 pixels around it for names that end in `smooth`
"""
import argparse
import gzip
import json
import os
import tempfile

import numpy as np
import torch
from PIL import Image

from make_lpips import splitmix64, values

TEXTS = ["a photo of a cat", "The  red Apple's 12 leaves!", "thé über " + "painting " * 90]
MERGES = 300


def number(name):
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return h


def named(name, shape):
    return values(number(name), tuple(shape))


def weights(state, matrices=()):
    """New values of all tensors of a state dict, by name."""
    new = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        v = named(name, tensor.shape)
        if tensor.dim() >= 2:
            fan_in = tensor.shape[0] if name in matrices else tensor[0].numel()
            v = v * (2.0 * np.sqrt(6.0 / fan_in))
        elif name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1):
            v = 1.0 + v * 0.4
        else:
            v = v * 0.4
        new[name] = torch.from_numpy(np.asarray(v, dtype=np.float32))
    return new


def image(name, h, w):
    i = np.arange(h * w * 3, dtype=np.uint64)
    with np.errstate(over="ignore"):
        bits = splitmix64(np.uint64(number(name) << 32) + i)
    noise = (bits >> np.uint64(56)).astype(np.int64).reshape(h, w, 3)
    if not name.endswith("smooth"):
        return noise.astype(np.uint8)
    padded = np.pad(noise, ((1, 1), (1, 1), (0, 0)), mode="edge")
    sums = sum(padded[y : y + h, x : x + w] for y in range(3) for x in range(3))
    return (sums // 9).astype(np.uint8)


def short(x):
    """A tensor in a few numbers: the first 12, the sum and the length of each row."""
    x = x.detach().double().reshape(x.shape[0], -1)
    return [[*row[:12].tolist(), row.sum().item(), row.norm().item()] for row in x]


IMAGES = [("inception-small-smooth", 40, 52), ("inception-large", 330, 411)]


def inception():
    import pytorch_fid.inception as fid
    import torchvision
    from cleanfid.resize import build_resizer
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    plain = torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    state = weights(plain.state_dict())
    fid.load_state_dict_from_url = lambda *_, **__: state
    network = fid.InceptionV3([3]).eval()
    pictures = [image(*spec) for spec in IMAGES]
    out = {}
    as_float = [torch.from_numpy(p.transpose(2, 0, 1)[None] / np.float32(255)) for p in pictures]
    out["pytorch_fid"] = short(torch.cat([network(x)[0].flatten(1) for x in as_float]))

    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(state, file.name)
        extractor = FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], feature_extractor_weights_path=file.name)
    bytes_ = [torch.from_numpy(p.transpose(2, 0, 1)[None]) for p in pictures]
    features = [extractor(x) for x in bytes_]
    out["torch_fidelity"] = short(torch.cat([f[0] for f in features]))
    out["torch_fidelity_logits"] = short(torch.cat([f[1] for f in features]))

    # clean-fid's network is the same one as a TorchScript file, after its own resizing.
    resize = build_resizer("clean")
    clean = [torch.from_numpy(resize(p).transpose(2, 0, 1)[None]) for p in pictures]
    network.resize_input = network.normalize_input = False
    out["clean_fid"] = short(torch.cat([network((x - 128) / 128)[0].flatten(1) for x in clean]))

    plain = torchvision.models.inception_v3(weights=None, transform_input=True, init_weights=False).eval()
    plain.load_state_dict(weights(plain.state_dict()), strict=False)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    x = torch.nn.functional.interpolate(as_float[0], size=(299, 299), mode="bilinear", align_corners=False)
    out["torchvision_logits"] = short(plain((x - mean) / std))
    return out


def frechet():
    from pytorch_fid.fid_score import calculate_frechet_distance

    out = {}
    for name, counts, dims in [("full", (200, 150), 48), ("singular", (30, 150), 48)]:
        stats = []
        for which, count in zip("ab", counts):
            mix = named(f"frechet-{which}-mix", (dims, dims))
            x = (named(f"frechet-{name}-{which}", (count, dims)) @ mix + (0.1 if which == "b" else 0.0)).astype(np.float32)
            stats += [np.mean(x.astype(np.float64), axis=0), np.cov(x.astype(np.float64), rowvar=False)]
        out[name] = float(np.real(calculate_frechet_distance(*stats)))
    return out


def features_only():
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    logits = torch.from_numpy((named("logits", (103, 20)) * 8).astype(np.float32))
    score = isc_features_to_metric(logits)
    a = torch.from_numpy((named("manifold-a", (120, 6))).astype(np.float32))
    b = torch.from_numpy((named("manifold-b", (90, 6)) * 1.3 + 0.1).astype(np.float32))
    return {
        "permutation": np.random.RandomState(2020).permutation(12).tolist(),
        "inception_score": [score["inception_score_mean"], score["inception_score_std"]],
        "precision_recall": list(calculate_precision_recall_full(a, b)),
    }


def pairs():
    import lpips
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    a, b = image("pair-a-smooth", 64, 70), image("pair-b-smooth", 64, 70)
    b = ((a.astype(np.int64) * 3 + b) // 4).astype(np.uint8)
    net = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False).eval()
    state = {k: v for k, v in net.state_dict().items() if k.startswith("net.")}
    new = {}
    for name, tensor in state.items():
        plain = "features." + name.split(".", 2)[2]  # torchvision's name
        scale = 2.0 * np.sqrt(6.0 / tensor[0].numel()) if tensor.dim() > 1 else 0.4
        new[name] = torch.from_numpy((named(plain, tensor.shape) * scale).astype(np.float32))
    for k in range(5):
        shape = net.lins[k].model[1].weight.shape
        lin = torch.from_numpy((np.abs(named(f"lin{k}.model.1.weight", shape)) * 2).astype(np.float32))
        new[f"lin{k}.model.1.weight"] = new[f"lins.{k}.model.1.weight"] = lin
    net.load_state_dict(new, strict=False)
    x, y = (torch.from_numpy(i.transpose(2, 0, 1)[None] / np.float32(127.5) - 1) for i in (a, b))
    return {
        "psnr": float(peak_signal_noise_ratio(a, b, data_range=255)),
        "ssim": float(structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, data_range=255)),
        "lpips_alex": float(net(x, y)),
    }


def clip():
    import clip as package
    from clip.clip import _transform
    from clip.model import CLIP
    from clip.simple_tokenizer import SimpleTokenizer, default_bpe

    lines = gzip.open(default_bpe()).read().decode("utf-8").split("\n")[: MERGES + 1]
    with tempfile.NamedTemporaryFile(suffix=".gz") as file:
        with gzip.open(file.name, "wb") as packed:
            packed.write("\n".join(lines).encode())
        tokenizer = SimpleTokenizer(file.name)
    package.clip._tokenizer = tokenizer
    tokens = package.tokenize(TEXTS, truncate=True)
    network = CLIP(24, 64, 2, 128, 16, 77, len(tokenizer.encoder), 64, 1, 2).eval()
    state = weights(network.state_dict(), matrices=("visual.proj", "text_projection"))
    network.load_state_dict(state)
    transform = _transform(64)
    pictures = torch.stack([transform(Image.fromarray(image(*spec))) for spec in [("clip-a-smooth", 91, 120), ("clip-b", 50, 33), ("clip-c", 64, 64)]])
    with torch.no_grad():
        x, y = network.encode_image(pictures), network.encode_text(tokens)
        cosine = torch.nn.functional.cosine_similarity(x, y)
    return {
        "merges": lines[1:],
        "vocabulary": len(tokenizer.encoder),
        "tokens": [tokens[0, :12].tolist(), tokens[1, :24].tolist(), [*tokens[2, :12].tolist(), *tokens[2, -3:].tolist()]],
        "images": short(x),
        "texts": short(y),
        "scores": (100 * cosine).tolist(),
    }


def adm(path):
    """Statistics and images as in ADM's reference batches, tiny."""
    arrays = {}
    for suffix, dims, kind in [("", 4, np.float64), ("_s", 3, np.float32)]:
        arrays[f"mu{suffix}"] = named(f"mu{suffix}", (dims,)).astype(kind)
        root = named(f"sigma{suffix}", (dims, dims))
        arrays[f"sigma{suffix}"] = (root @ root.T).astype(kind)
    arrays["arr_0"] = np.stack([image("adm-0", 4, 5), image("adm-1", 4, 5), image("adm-2", 4, 5)])
    np.savez_compressed(path, **arrays)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    args = parser.parse_args()
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    result = {"frechet": frechet(), "features": features_only(), "pairs": pairs(), "clip": clip(), "inception": inception()}
    rounded = json.loads(json.dumps(result), parse_float=lambda text: float(f"{float(text):.9g}"))
    with open(args.out, "w") as file:
        json.dump(rounded, file, separators=(",", ":"))
        file.write("\n")
    adm(os.path.splitext(args.out)[0] + ".npz")
    print(os.path.getsize(args.out), "bytes")


if __name__ == "__main__":
    main()
