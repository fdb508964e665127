"""A base of the video codec with random networks, small and lively, and a clip for it."""

from fractions import Fraction

import numpy as np

from overfit import settings
from overfit.bases.base import Base, quantized
from overfit.io.clip import Clip
from overfit.methods.stat_ssf import encoder
from overfit.methods.stat_ssf.architecture import exponent, parameter_shapes
from overfit.methods.stat_ssf.config import VARIANTS, StatSsfConfig
from overfit.nn import factorized

SMALL = {
    "transform.width": 6,
    "transform.growth": 1.5,
    "transform.latents": 8,
    "transform.hyper_latents": 5,
    "transform.network_width": 4,
    "rates.lmbdas": (8e-3, 1e-3),
}


def config(variant: str = "stat-ssf-sp") -> StatSsfConfig:
    return settings.override(StatSsfConfig(), SMALL | VARIANTS[variant])


def base(variant: str = "stat-ssf-sp") -> Base:
    small, rng = config(variant), np.random.default_rng(0)
    networks: dict[str, dict] = {}
    for network, arrays in parameter_shapes(small).items():
        made = networks.setdefault(network, {})
        for name, shape in arrays.items():
            if name.startswith("w"):
                made[name] = rng.normal(size=shape) * (2 / shape[1]) ** 0.5
            elif network.endswith("_gains"):
                made[name] = np.full(shape, 3.0 if name == "encoder" else -3.0)
                made[name][1:] *= 1.5
            else:
                made[name] = 0.1 * rng.normal(size=shape)
        if network.endswith("_hyper_latents"):
            networks[network] = factorized.initial(rng, small.transform.hyper_channels)
    networks = encoder.freeze(networks, small)
    networks = {n: {k: v.astype(np.float32) for k, v in a.items()} for n, a in networks.items()}
    arrays = quantized(networks, exponent)
    return Base("stat-ssf", settings.lasting(small), arrays, {"from": "a test"})


def clip_of(frames=4, height=50, width=70, seed=0):
    """A texture that moves by a pixel and a half per frame, roughly."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 256, (height + 20, width + 20, 3)).astype(float)
    texture = sum(np.roll(texture, (i, j), (0, 1)) for i in range(4) for j in range(4)) / 16
    pictures = [texture[3 * t // 2 :, t:][:height, :width] for t in range(frames)]
    return Clip((np.stack(pictures).astype(np.uint8),), Fraction(30))
