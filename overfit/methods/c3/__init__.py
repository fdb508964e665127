"""C3: latent grids and two tiny networks, fitted to one image or clip (arXiv 2312.02753)."""

from overfit.method import Encoder, Method, deferred
from overfit.methods.c3.config import CLIP_PRESETS, PRESETS

_MODEL, _CODEC = "overfit.methods.c3.model", "overfit.methods.c3.codec"
_ANALYSIS = "overfit.methods.c3.analysis"

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
    presets=PRESETS | CLIP_PRESETS,
    inspect=deferred("overfit.methods.c3.inspection", "inspect"),
    first_phase=deferred("overfit.methods.c3.masks", "first_phase"),
    frames=deferred(_CODEC, "frames"),
    specialized=deferred("overfit.methods.c3.motion", "with_margin"),
    encoder=Encoder(deferred(_ANALYSIS, "moments"), deferred(_ANALYSIS, "solved")),
)
