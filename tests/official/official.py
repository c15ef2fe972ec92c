"""What load_official.py and bench_train.py share: the official code of Infinity and VAR on a CPU, unchanged on disk.

`prepare(repo)` must be called before anything of the checkout is imported. It
- puts the checkout on Python's path,
- stands in for flash_attn where that is not installed, with PyTorch's own attention,
- sends what the code asks of a GPU (`.cuda()`, autocast of "cuda") to the CPU where there is no GPU,
- lets `print` take the keywords that the official `print` has in distributed runs.
"""
import builtins
import contextlib
import io
import json
import sys
import types

import torch

NAMES = {  # a name in our configurations: what it may be called in others
    "width": ("width", "embed_dim"),
    "depth": ("depth",),
    "heads": ("heads", "num_heads"),
    "mlp_ratio": ("mlp_ratio",),
    "bits": ("code_dim", "codebook_dim", "bits"),
    "vocabulary": ("vocabulary", "vocab_size"),
    "channels": ("channels", "Cvae", "code_dim"),
    "classes": ("classes", "num_classes"),
    "text_channels": ("text_channels", "text"),
    "chunks": ("block_chunks",),
    "scales": ("schedule", "patch_nums", "scales"),
}


def read_config(path):
    """The sizes of a transformer as a dictionary, from a nextscale.json or a config.json of the golden tests.

    Keys: width, depth, heads, mlp_ratio; for Infinity bits, text_channels, chunks, patchify; for VAR vocabulary, channels, classes,
    scales (a list of sides), shared_aln, cosine.
    """
    with open(path) as file:
        whole = json.load(file)
    part = whole.get("transformer", whole)
    sizes = {"mlp_ratio": 4.0, "chunks": 1}
    for name, others in NAMES.items():
        for other in others:
            if other in part:
                sizes[name] = part[other]
                break
    if isinstance(sizes.get("scales"), list):
        sizes["scales"] = [side(s) for s in sizes["scales"]]
    sizes["patchify"] = int(whole.get("patching") == "double" or bool(part.get("apply_spatial_patchify")))
    sizes["shared_aln"] = part.get("shared_aln", part.get("modulation") == "shared")
    sizes["cosine"] = part.get("attn_l2_norm", part.get("attention", "cosine") == "cosine")
    return sizes


def side(scale):
    if isinstance(scale, dict):
        return scale["h"]
    return scale[-1] if isinstance(scale, list) else scale


def flash_attn():
    """A module with the two functions of flash_attn that the official code calls."""
    attend = torch.nn.functional.scaled_dot_product_attention

    def flash_attn_func(q, k, v, softmax_scale=None, **_):
        return attend(*(x.transpose(1, 2) for x in (q, k, v)), scale=softmax_scale).transpose(1, 2)

    def flash_attn_varlen_kvpacked_func(q, kv, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale=None, **_):
        if not torch.is_autocast_enabled("cpu"):  # The official code has cast to bf16 for the GPU's kernel, which a CPU need not do.
            q, kv = q.float(), kv.float()
        k, v = kv.unbind(1)
        batch = len(cu_seqlens_q) - 1
        if q.shape[0] == batch * max_seqlen_q and k.shape[0] == batch * max_seqlen_k:  # all of one length
            parts = [x.unflatten(0, (batch, -1)).transpose(1, 2) for x in (q, k, v)]
            return attend(*parts, scale=softmax_scale).transpose(1, 2).flatten(0, 1)
        out = []
        for i in range(batch):
            of_q, of_k = (slice(int(c[i]), int(c[i + 1])) for c in (cu_seqlens_q, cu_seqlens_k))
            parts = [x.transpose(0, 1)[None] for x in (q[of_q], k[of_k], v[of_k])]
            out.append(attend(*parts, scale=softmax_scale)[0].transpose(0, 1))
        return torch.cat(out)

    module = types.ModuleType("flash_attn")
    module.flash_attn_func = flash_attn_func
    module.flash_attn_varlen_kvpacked_func = flash_attn_varlen_kvpacked_func
    return module


def prepare(repo):
    sys.path.insert(0, repo)
    try:
        import flash_attn as _  # noqa: F401
    except ImportError:
        sys.modules["flash_attn"] = flash_attn()
    if not torch.cuda.is_available():
        on_cpu()
    plain = builtins.print
    builtins.print = lambda *a, force=None, clean=None, **k: plain(*a, **k)


def on_cpu():
    torch.nn.Module.cuda = lambda self, *_, **__: self
    autocast = torch.autocast

    def of_cpu(device_type="cuda", dtype=torch.bfloat16, enabled=True, cache_enabled=None):
        return autocast("cpu", dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

    torch.amp.autocast = of_cpu
    torch.cuda.amp.autocast = lambda enabled=True, dtype=torch.bfloat16, cache_enabled=True: of_cpu("cuda", dtype, enabled, cache_enabled)
    # The fused norms are compiled for the GPU when they are first called; here they run as they are written.
    torch.compile = lambda f=None, **_: f if f is not None else (lambda g: g)


@contextlib.contextmanager
def quiet():
    """Keeps what the official code prints to itself, unless it fails."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except BaseException:
        sys.stderr.write(said.getvalue())
        raise


def bits_only(bits):
    """The parts of the bitwise tokenizer that Infinity's constructor reads."""
    mask = 2 ** torch.arange(bits - 1, -1, -1, dtype=torch.float64)
    lfq = types.SimpleNamespace(mask=mask)
    return types.SimpleNamespace(embed_dim=bits, vocab_size=2**bits, quantizer=types.SimpleNamespace(lfq=lfq))


def codes_only(vocabulary, channels):
    """The parts of the VQVAE that VAR's constructor reads."""
    return types.SimpleNamespace(Cvae=channels, vocab_size=vocabulary, quantize=None)
