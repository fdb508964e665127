"""Multiply-accumulates of the codec by module, by the paper's counting rule and by ours.

The paper's Tables 2 and 3 follow if two operations are counted per multiply-accumulate, with

- transposed convolutions at the resolution of their output, four times what they take;
- masked taps as if they were there;
- all parameter networks with the inputs of the first, and the latents' number as width * height /
  256 without padding;
- the search as n^2 / 2 products of vectors of 4 * latents.

Ours are the products that a decoder needs: transposed convolutions at the resolution of their
input, live taps, true inputs, and padded sides.
"""

from overfit.methods.reference.architecture import (
    LATENT_STRIDE,
    NEIGHBORS,
    padded,
    stage_inputs,
)
from overfit.methods.reference.config import ReferenceConfig

_INNER = (4, 16, 64)  # pixels per position after each of the three inner layers


def _normalizations(config: ReferenceConfig) -> float:
    """Per pixel, of three."""
    matrices = 2 if config.transform.normalization == "gsdn" else 1
    return sum(matrices * config.transform.width**2 / pixels for pixels in _INNER)


def published(height: float, width: float, config: ReferenceConfig) -> dict[str, float]:
    """Operations per image by the rule of Tables 2 and 3."""
    n, m, h = config.transform.width, config.transform.latents, config.entropy.hyper_width
    pixels = height * width
    latents = pixels / LATENT_STRIDE**2
    encoder = 25 * (3 * n / 4 + n * n / 16 + n * n / 64 + n * m / 256) + _normalizations(config)
    decoder = 25 * (m * n / 64 + n * n / 16 + n * n / 4 + 3 * n) + _normalizations(config)
    stages = config.entropy.stages
    outputs = 3 if config.entropy.distribution == "mixture" else 2
    network = m * 3 * m + (3 * m) ** 2 + 3 * m * outputs * m
    macs = {
        "encoder": encoder * pixels,
        "decoder": decoder * pixels,
        "context": 25 * m * m * latents,
        "parameters": len(stages) * network * latents,
    }
    if config.entropy.reference:
        macs["reference"] = 9 * m * m * latents + latents**2 / 2 * 4 * m
    if config.entropy.hyperprior:
        macs["hyper_encoder"] = (9 * m * h + 25 * h * h / 4 + 25 * h * h / 16) * latents
        macs["hyper_decoder"] = (25 * h * h / 4 + 25 * h * h + 9 * h * 2 * m) * latents
    return {module: 2 * count for module, count in macs.items()}


def _pairs(config: ReferenceConfig, rows: int, columns: int) -> float:
    """Pairs of places that the search compares, about: of a checkerboard one color's alone."""
    latents = rows * columns / LATENT_STRIDE**2
    return latents**2 / (8 if config.entropy.context == "checkerboard" else 2)


def macs(shape: tuple[int, ...], config: ReferenceConfig) -> dict[str, float]:
    """Multiply-accumulates of the decoder per pixel of an image [channels, height, width]."""
    _, height, width = shape
    rows, columns = padded(height, width)
    n, m, h = config.transform.width, config.transform.latents, config.entropy.hyper_width
    latents = rows * columns / LATENT_STRIDE**2
    neighbors = NEIGHBORS[config.entropy.context]
    outputs = 3 if config.entropy.distribution == "mixture" else 2
    found = {
        "synthesis": 25 * (m * n / 256 + n * n / 64 + n * n / 16 + 3 * n / 4)
        + _normalizations(config),
        "context": len(neighbors.context) * m * m / LATENT_STRIDE**2,
        "parameters": 3 * m * sum(inputs + (3 + outputs) * m for inputs in stage_inputs(config))
        / LATENT_STRIDE**2,
    }  # fmt: skip
    if config.entropy.reference:
        search = _pairs(config, rows, columns) / latents * len(neighbors.query) * m
        found["reference"] = (len(neighbors.fetched) * m * m + search) / LATENT_STRIDE**2
    if config.entropy.hyperprior:
        hyper = 25 * h * h / 16 + 25 * h * h / 4 + 9 * h * 2 * m
        found["hyper_synthesis"] = hyper / LATENT_STRIDE**2
    found = {module: count * rows * columns / (height * width) for module, count in found.items()}
    return found | {"total": sum(found.values())}
