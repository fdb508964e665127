"""Multiply-accumulates per pixel of the codec's networks.

Transposed convolutions are counted at the resolution of their input. Warping and its scale space
are apart, as in the figures that are published.
"""

import math

from overfit.methods.stat_ssf.architecture import padded, parameter_shapes, parts
from overfit.methods.stat_ssf.config import StatSsfConfig

# Of each layer's matrix: for how many pixels it is applied once.
_PIXELS = {
    "analysis": (4, 16, 64, 256),
    "hyper_analysis": (256, 1024, 4096),
    "hyper_synthesis": (4096, 1024, 256, 256),
    "synthesis": (256, 64, 16, 4, 4),
    "transform": (1, 1, 1),
}


def _macs(network: str, kind: str, config: StatSsfConfig) -> float:
    """Per pixel of a padded frame; zero of a network that there is not."""
    arrays = parameter_shapes(config).get(network, {})
    pixels = enumerate(_PIXELS[kind])
    return sum(math.prod(arrays.get(f"w{layer}", (0,))) / count for layer, count in pixels)


def decoder(part: str, config: StatSsfConfig) -> float:
    """Of a part's synthesis and hyper-synthesis."""
    return sum(_macs(f"{part}_{kind}", kind, config) for kind in ("synthesis", "hyper_synthesis"))


def encoder(part: str, config: StatSsfConfig) -> float:
    """Of a part's analysis and hyper-analysis."""
    return sum(_macs(f"{part}_{kind}", kind, config) for kind in ("analysis", "hyper_analysis"))


def network(config: StatSsfConfig) -> float:
    """Of the transform at full resolution, where there is one."""
    return _macs("transform", "transform", config)


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
