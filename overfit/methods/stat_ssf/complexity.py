"""Multiply-accumulates per pixel of the codec's networks.

Transposed convolutions are counted at the resolution of their input. Warping and its scale space
are apart, as in the figures that are published.
"""

from overfit.methods.stat_ssf.architecture import (
    is_scaled,
    is_structured,
    motion_outputs,
    padded,
    parts,
)
from overfit.methods.stat_ssf.config import StatSsfConfig


def decoder(part: str, config: StatSsfConfig) -> float:
    """Of a part's synthesis and hyper-synthesis, per pixel of a padded frame."""
    n, m = config.transform.width, config.transform.latents
    seen = 2 * m if part == "residual" and config.transform.motion else m
    outputs = {"intra": 3, "residual": 3, "motion": motion_outputs(config)}[part]
    outputs *= 2 if part == "motion" and is_scaled(config) else 1
    synthesis = 25 * (seen * n / 256 + n * n / 64 + n * n / 16 + n * outputs / 4)
    if is_structured(part, config):
        hyper = 25 * (2 * m * m / 4096 + m * m / 1024) + 9 * (2 * m * m + 2 * m * m) / 256
    else:
        hyper = 25 * (m * m / 4096 + m * m / 1024) + 9 * 2 * m * m / 256
    return synthesis + hyper


def encoder(part: str, config: StatSsfConfig) -> float:
    """Of a part's analysis and hyper-analysis."""
    n, m = config.transform.width, config.transform.latents
    inputs = {"intra": 3, "residual": 3, "motion": 6}[part]
    analysis = 25 * (inputs * n / 4 + n * n / 16 + n * n / 64 + n * m / 256)
    return analysis + 9 * m * m / 256 + 25 * (m * m / 1024 + m * m / 4096)


def network(config: StatSsfConfig) -> float:
    """Of the transform at full resolution, where there is one."""
    if not config.transform.network:
        return 0.0
    c = config.transform.network_width
    inputs = 3 + (motion_outputs(config) if config.transform.motion else 0)
    return 9 * (inputs * c + c * c + c * (6 if config.transform.scale else 3))


def frame_macs(config: StatSsfConfig) -> dict[str, float]:
    """Of a decoder, per pixel of an intra frame and of a predicted one."""
    predicted = [decoder(part, config) for part in parts(config) if part != "intra"]
    return {"intra": decoder("intra", config), "predicted": sum(predicted) + network(config)}


def macs(shape: tuple[int, ...], config: StatSsfConfig) -> dict[str, float]:
    """Of a decoder, per pixel of a clip [3, frames, height, width], by kind of frame."""
    _, frames, height, width = shape
    rows, columns = padded(height, width)
    intra = -(-frames // (config.gop or frames))
    found = frame_macs(config)
    share = rows * columns / (height * width)
    found["intra"] *= share * intra / frames
    found["predicted"] *= share * (frames - intra) / frames
    return found | {"total": sum(found.values())}
