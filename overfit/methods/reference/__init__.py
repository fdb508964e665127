"""Global-reference entropy model with GSDN (Qian et al., ICLR 2021), adapted per image."""

from overfit.method import Method, Pretraining, deferred
from overfit.methods.reference.config import PRESETS

_MODEL, _CODEC = "overfit.methods.reference.model", "overfit.methods.reference.codec"
_ADAPTATION = "overfit.methods.reference.adaptation"

METHOD = Method(
    name="reference",
    sections=("header", "networks", "latents"),
    init=deferred(_ADAPTATION, "init"),
    loss=deferred(_ADAPTATION, "loss"),
    quantize=deferred(_ADAPTATION, "quantize"),
    write=deferred(_CODEC, "write"),
    read=deferred(_CODEC, "read"),
    reconstruct=deferred(_CODEC, "reconstruct"),
    macs=deferred("overfit.methods.reference.complexity", "macs"),
    describe=deferred(_CODEC, "describe"),
    presets=PRESETS,
    inspect=deferred("overfit.methods.reference.inspection", "inspect"),
    pretraining=Pretraining(
        init=deferred(_MODEL, "init"),
        loss=deferred(_MODEL, "training_loss"),
        crops=deferred(_MODEL, "training_crops"),
        lr=deferred(_MODEL, "training_lr"),
        exponent=deferred("overfit.methods.reference.architecture", "exponent"),
        freeze=deferred("overfit.methods.reference.encoder", "freeze"),
        code=deferred("overfit.methods.reference.encoder", "code"),
    ),
)
