"""Online-trained upsampler over x265 (Klopp et al., ICCV 2021), fitted to a group of frames."""

from overfit.method import Method, deferred
from overfit.methods.upsampler.config import PRESETS

_MODEL, _CODEC = "overfit.methods.upsampler.model", "overfit.methods.upsampler.codec"

METHOD = Method(
    name="upsampler",
    sections=("header", "networks", "base_stream"),
    init=deferred(_MODEL, "init"),
    loss=deferred(_MODEL, "loss"),
    quantize=deferred("overfit.methods.upsampler.quantize", "quantize"),
    write=deferred(_CODEC, "write"),
    read=deferred(_CODEC, "read"),
    reconstruct=deferred(_CODEC, "reconstruct"),
    macs=deferred("overfit.methods.upsampler.complexity", "macs"),
    describe=deferred(_CODEC, "describe"),
    presets=PRESETS,
)
