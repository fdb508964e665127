"""From the bytes of an .ovf file back to a signal, and what a file says of itself. No JAX."""

from typing import Any

import numpy as np

from overfit import method
from overfit.coding import container

SECTIONS = {"c3": 3}  # how many sections a file of each method has


def open_sections(data: bytes) -> tuple[method.Method, list[bytes]]:
    """The file's method and sections. Raises UserError for damaged data."""
    name = container.method_of(data)
    return method.load(name), container.unpack(data, SECTIONS[name])


def decode(data: bytes) -> np.ndarray:
    """uint8 [height, width, 3], or [height, width] for grey.

    Raises UserError for anything but an intact .ovf file.
    """
    codec, sections = open_sections(data)
    return codec.reconstruct(codec.read(sections, None), None)


def info(data: bytes) -> dict[str, Any]:
    """What the file says without decoding its latents; the keys are those of CONTRACT.md."""
    codec, sections = open_sections(data)
    about = codec.describe(sections)
    pixels = about["width"] * about["height"] * about["frames"]
    return {
        "method": codec.name,
        **about,
        "pixels": pixels,
        "bytes": len(data),
        "bpp": 8 * len(data) / pixels,
        "bits": section_bits(data, sections),
    }


def section_bits(data: bytes, sections: list[bytes]) -> dict[str, int]:
    """Bits of the file by purpose; "header" is everything but the payloads."""
    networks, latents = 8 * len(sections[1]), 8 * len(sections[2])
    header = 8 * len(data) - networks - latents
    return {"header": header, "networks": networks, "latents": latents, "base_stream": 0}
