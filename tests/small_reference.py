"""A base of the reference codec with random networks: small, untrained, and lively."""

import numpy as np

from overfit import settings
from overfit.bases.base import Base, quantized
from overfit.methods.reference import encoder
from overfit.methods.reference.architecture import exponent, parameter_shapes
from overfit.methods.reference.config import ReferenceConfig
from overfit.nn import factorized

SMALL = {
    "transform.width": 6,
    "transform.latents": 8,
    "entropy.hyper_width": 5,
    "rates.lmbdas": (8e-3, 1e-3),
}


def base(**changed) -> Base:
    """Settings by dotted path, with __ for the dot."""
    chosen = SMALL | {path.replace("__", "."): value for path, value in changed.items()}
    config = settings.override(ReferenceConfig(), chosen)
    rng = np.random.default_rng(0)
    networks: dict[str, dict] = {}
    for network, arrays in parameter_shapes(config).items():
        made = networks.setdefault(network, {})
        for name, shape in arrays.items():
            kind = name.rstrip("0123456789")
            if kind == "w":
                last = name == "w2" and network.startswith("parameters")
                made[name] = rng.normal(size=shape) * (2 / shape[1]) ** 0.5 * (0.3 if last else 1)
            elif kind in ("gamma", "tau"):
                made[name] = np.sqrt(0.1 * np.eye(*shape) + 0.01 * rng.random(shape))
            elif network == "gains":
                made[name] = np.full(shape, 3.0 if name == "encoder" else -3.0)
                made[name][1:] *= 1.5
            else:
                made[name] = 0.1 * rng.normal(size=shape) + (kind == "beta")
    if config.entropy.hyper_prior == "factorized":
        networks["hyper_latents"] |= factorized.initial(rng, config.entropy.hyper_width)
        networks = encoder.freeze(networks, config)
    networks = {n: {k: v.astype(np.float32) for k, v in a.items()} for n, a in networks.items()}
    return Base(
        "reference", settings.lasting(config), quantized(networks, exponent), {"from": "a test"}
    )
