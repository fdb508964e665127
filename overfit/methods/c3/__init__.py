"""C3: latent grids and two tiny networks, fitted to one image (Kim et al., arXiv 2312.02753)."""

from overfit.method import Method, deferred
from overfit.methods.c3.config import PRESETS

_MODEL, _CODEC = "overfit.methods.c3.model", "overfit.methods.c3.codec"

METHOD = Method(
    name="c3",
    sections=("header", "networks", "latents"),
    init=deferred(_MODEL, "init"),
    loss=deferred(_MODEL, "loss"),
    quantize=deferred("overfit.methods.c3.quantize", "quantize"),
    write=deferred(_CODEC, "write"),
    read=deferred(_CODEC, "read"),
    reconstruct=deferred(_CODEC, "reconstruct"),
    macs=deferred("overfit.methods.c3.complexity", "macs"),
    describe=deferred(_CODEC, "describe"),
    presets=PRESETS,
    inspect=deferred("overfit.methods.c3.inspection", "inspect"),
)
