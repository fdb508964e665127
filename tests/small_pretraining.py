"""A method whose networks are one color matrix, so that its pretraining compiles in a moment.

Run as a program it is `overfit` with this method.
"""

import sys
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from overfit import method
from overfit.method import Aux, Pretraining


@dataclass(frozen=True)
class Training:
    steps: int = 12
    batch: int = 4
    crop: int = 16
    lr: float = 0.05
    clip: float = 1.0


@dataclass(frozen=True)
class Config:
    training: Training = field(default_factory=Training)


def init(rng, config):
    return {"mix": {"matrix": rng.normal(0, 0.3, (3, 3)).astype(np.float32)}}


def loss(networks, signal, key, progress, config):
    noisy = signal + 0.3 * jax.random.normal(key, signal.shape)
    mixed = jnp.einsum("oc,cyx->oyx", networks["mix"]["matrix"], noisy)
    distortion = jnp.mean(jnp.square(mixed - signal))
    return distortion, Aux(distortion, jnp.sum(jnp.abs(mixed)))


METHOD = method.load("reference")._replace(
    name="mixing",
    presets={"small": Config()},
    pretraining=Pretraining(
        init,
        loss,
        crops=lambda step, config: (0, config.training.crop),
        lr=lambda step, config: config.training.lr,
        exponent=lambda network: 20,
        freeze=lambda networks, config: networks,
        code=lambda *_: None,
    ),
)


if __name__ == "__main__":
    from overfit.cli import main

    method.METHODS["mixing"] = "small_pretraining"
    sys.exit(main())
