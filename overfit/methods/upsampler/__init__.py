"""Online-trained upsampler over x265 (Klopp et al., ICCV 2021), fitted to a group of frames."""

from overfit.method import Groups, Learned, Method, deferred
from overfit.methods.upsampler.config import PRESETS
from overfit.methods.upsampler.quantizer import lmbda_of, qp_of

_MODEL, _CODEC = "overfit.methods.upsampler.model", "overfit.methods.upsampler.codec"
_PREPARATION = "overfit.methods.upsampler.preparation"

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
    frames=deferred(_CODEC, "frames"),
    groups=Groups(
        prepare=deferred(_PREPARATION, "encode_base"),
        save=deferred(_PREPARATION, "save_base"),
        restore=deferred(_PREPARATION, "restore_base"),
        signals=deferred(_PREPARATION, "groups"),
        assemble=deferred(_CODEC, "assemble"),
        lmbda=lmbda_of,
        qp=qp_of,
        steps=lambda config: config.training.steps,
        chained=lambda config: config.latency == "zero",
        after=deferred(_CODEC, "after"),
    ),
    learned=Learned(deferred(_MODEL, "averageable"), deferred(_MODEL, "as_base")),
)
