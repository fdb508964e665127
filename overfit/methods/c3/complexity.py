"""Multiply-accumulates of the decoder per pixel, by the counting rule of C3's appendix B.

Matrix products only, plus 8 per bilinearly upsampled value (16 trilinearly); the entropy network
runs once per latent, and a resized previous grid costs 8 per latent.
"""

import math

from overfit.methods.c3.architecture import (
    entropy_sizes,
    full_offsets,
    residual_taps,
    synthesis_sizes,
)
from overfit.methods.c3.config import C3Config

BILINEAR = 8  # 4 for the weighted sum, 4 for its weights
TRILINEAR = 16  # likewise
LEARNED = 16  # taps of an 8x8 kernel of stride 2 that meet one output value


def _products(sizes: tuple[int, ...]) -> int:
    return sum(a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))


def macs(shape: tuple[int, ...], config: C3Config) -> dict[str, float]:
    """{"entropy", "upsampling", "synthesis", "total"} per pixel.

    shape: [channels, height, width], or [channels, frames, height, width] of a clip.
    """
    channels, *size = shape
    pixels = math.prod(size)
    sizes = [math.prod(s) for s in config.latents.shapes(*size)]
    latents = sum(sizes)
    entropy = (
        sum(_products(entropy_sizes(config, grid)) * n for grid, n in enumerate(sizes)) / pixels
    )
    if config.entropy.per_grid == "film":
        entropy += sum(config.entropy.widths) * latents / pixels
    if full_offsets(config.entropy.previous):
        entropy += BILINEAR * latents / pixels
    if config.synthesis.upsampling == "learned":
        # One pass up the pyramid: at each octave all coarser grids are doubled together.
        upsampling = sum(
            LEARNED * config.latents.num_grids * 4.0**-octave
            if octave < config.latents.first_octave
            else LEARNED * (config.latents.octaves()[-1] - octave) * 4.0**-octave
            for octave in range(config.latents.octaves()[-1])
        )
    else:
        # C3's tables count one grid less than there are, also where none has full resolution.
        upsampling = (BILINEAR if len(size) == 2 else TRILINEAR) * (config.latents.num_grids - 1)
        upsampling *= math.prod(config.latents.canvas(*size[-2:])) / math.prod(size[-2:])
    synthesis = _products(synthesis_sizes(config, channels))
    synthesis += config.synthesis.residual_layers * residual_taps(config) * channels**2
    return {
        "entropy": entropy,
        "upsampling": upsampling,
        "synthesis": synthesis,
        "total": entropy + upsampling + synthesis,
    }
