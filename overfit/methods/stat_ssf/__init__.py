"""STAT-SSF and its family (Yang et al., ICLR 2021): a learned video codec, adapted per video."""

from overfit.method import Method, Pretraining, deferred
from overfit.methods.stat_ssf.config import PRESETS, VARIANTS

_MODEL, _CODEC = "overfit.methods.stat_ssf.model", "overfit.methods.stat_ssf.codec"
_ADAPTATION = "overfit.methods.stat_ssf.adaptation"

METHOD = Method(
    name="stat-ssf",
    sections=("header", "networks", "latents"),
    init=deferred(_ADAPTATION, "init"),
    loss=deferred(_ADAPTATION, "loss"),
    quantize=deferred(_ADAPTATION, "quantize"),
    write=deferred(_CODEC, "write"),
    read=deferred(_CODEC, "read"),
    reconstruct=deferred(_CODEC, "reconstruct"),
    macs=deferred("overfit.methods.stat_ssf.complexity", "macs"),
    describe=deferred(_CODEC, "describe"),
    presets=PRESETS,
    variants=VARIANTS,
    frames=deferred(_CODEC, "frames"),
    windows=deferred(_ADAPTATION, "windows"),
    pretraining=Pretraining(
        init=deferred(_MODEL, "init"),
        loss=deferred(_MODEL, "training_loss"),
        crops=deferred(_MODEL, "training_crops"),
        lr=deferred(_MODEL, "training_lr"),
        exponent=deferred("overfit.methods.stat_ssf.architecture", "exponent"),
        freeze=deferred("overfit.methods.stat_ssf.tables", "freeze"),
        code=deferred(_ADAPTATION, "code"),
    ),
)
