"""A density per channel that takes any shape: the factorized prior of hyper-latents.

Balle et al., "Variational image compression with a scale hyperprior", ICLR 2018, appendix 6.1: the
distribution function is a chain of layers 1-3-3-3-1 whose matrices are positive and whose
non-linearities rise, so that it rises as well. NumPy and JAX arrays alike.
"""

import math

import numpy as np

_WIDTHS = (1, 3, 3, 3, 1)
_SPREAD = 10.0  # of the density at first, in bins
OUTLIER_SHARE, OUTLIER_SCALE = 2.0**-13, 3.0  # as in the tables of `coding.laplace`


def shapes(channels: int) -> dict[str, tuple[int, ...]]:
    """Of the arrays of all channels' densities."""
    found: dict[str, tuple[int, ...]] = {}
    for i, (inputs, outputs) in enumerate(zip(_WIDTHS[:-1], _WIDTHS[1:], strict=True)):
        found |= {f"matrix{i}": (channels, outputs, inputs), f"bias{i}": (channels, outputs)}
        if i < len(_WIDTHS) - 2:
            found[f"factor{i}"] = (channels, outputs)
    return found


def initial(rng: np.random.Generator, channels: int) -> dict[str, np.ndarray]:
    """Wide densities around zero, different in what they can become."""
    scale = _SPREAD ** (1 / (len(_WIDTHS) - 1))
    arrays = {}
    for name, shape in shapes(channels).items():
        if name.startswith("matrix"):
            array = np.full(shape, math.log(math.expm1(1 / scale / shape[1])))
        elif name.startswith("bias"):
            array = rng.uniform(-0.5, 0.5, shape)
        else:
            array = np.zeros(shape)
        arrays[name] = array.astype(np.float32)
    return arrays


def logits(p: dict, x):
    """The logit of the distribution function: x [channels, n] -> [channels, n]."""
    xp = x.__array_namespace__()
    y = x[:, None, :]
    for i in range(len(_WIDTHS) - 1):
        y = xp.logaddexp(p[f"matrix{i}"], xp.zeros_like(p[f"matrix{i}"])) @ y
        y = y + p[f"bias{i}"][:, :, None]
        if f"factor{i}" in p:
            y = y + xp.tanh(p[f"factor{i}"])[:, :, None] * xp.tanh(y)
    return y[:, 0]


def masses(p: dict, x):
    """Of x - 1/2 to x + 1/2, [channels, n]; differences are those of the smaller tail."""
    xp = x.__array_namespace__()
    lower, upper = logits(p, x - 0.5), logits(p, x + 0.5)
    sign = -xp.sign(lower + upper)
    low, high = (1 / (1 + xp.exp(xp.clip(-sign * y, -60, 60))) for y in (lower, upper))
    return xp.abs(high - low)


def bits(p: dict, x):
    """-log2 of the masses with a little of a wide Laplace, as `distributions.gaussian_bits`."""
    xp = x.__array_namespace__()
    outlier = math.sinh(0.5 / OUTLIER_SCALE) * xp.exp(-xp.abs(x) / OUTLIER_SCALE)
    mass = (1 - OUTLIER_SHARE) * masses(p, x) + OUTLIER_SHARE * outlier
    return -xp.log2(mass + 2.0**-60)
