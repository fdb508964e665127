"""Files that were written once must decode to the same symbols for ever.

    python tests/golden/test_golden.py

makes them again. That is right only after a deliberate change of the format, with a new version in
the container, because it gives up all files that users have.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overfit import decoding
from overfit.metrics.psnr import psnr

FOLDER = Path(__file__).parent
PINS = FOLDER / "golden.json"
PRESETS = ("c3-kodak", "c3-clic", "coolchic-v2")


def picture() -> np.ndarray:
    """Waves, an edge and a little noise: uint8 [40, 48, 3]."""
    y, x = np.mgrid[:40, :48] / 10
    waves = np.stack([np.sin(1.3 * x + y), np.cos(x - 0.7 * y), np.sin(0.5 * x * y)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 3, waves.shape)
    edge = np.where(x + y > 5, 40, -20)[..., None]
    return np.clip(115 + 60 * waves + edge + noise, 0, 255).astype(np.uint8)


def symbols(data: bytes) -> dict[str, str]:
    """Hashes of all integers that a file carries, in big-endian 64-bit words."""
    codec, sections = decoding.open_sections(data)
    code = codec.read(sections, None)
    latents, parameters = hashlib.sha256(), hashlib.sha256()
    for plane in code.latents:
        latents.update(plane.astype(">i8").tobytes())
    for arrays in code.parameters.values():
        for array in arrays.values():
            parameters.update(np.append(array.k.ravel(), array.e).astype(">i8").tobytes())
    return {"latents": latents.hexdigest(), "parameters": parameters.hexdigest()}


@pytest.mark.parametrize("preset", PRESETS)
def test_old_files_decode_to_the_same_symbols(preset):
    data = (FOLDER / f"{preset}.ovf").read_bytes()
    assert symbols(data) == json.loads(PINS.read_text())[preset]


@pytest.mark.parametrize("preset", PRESETS)
def test_old_files_decode_to_the_same_picture(preset):
    image = decoding.decode((FOLDER / f"{preset}.ovf").read_bytes())
    expected = np.asarray(Image.open(FOLDER / f"{preset}.png"))
    # The synthesis is float: another machine may round a pixel to its neighbor.
    assert np.abs(image.astype(int) - expected).max() <= 1
    assert psnr(image, picture()) > 25


@pytest.mark.parametrize("preset", PRESETS)
def test_old_files_say_what_they_are(preset):
    data = (FOLDER / f"{preset}.ovf").read_bytes()
    assert len(data) < 3000
    about = decoding.info(data)
    assert (about["method"], about["width"], about["height"]) == ("c3", 48, 40)


def make() -> None:
    import overfit

    pins = {}
    for preset in PRESETS:
        data = overfit.encode(picture(), preset=preset, lmbda=1e-3, steps=800)
        (FOLDER / f"{preset}.ovf").write_bytes(data)
        image = overfit.decode(data)
        Image.fromarray(image).save(FOLDER / f"{preset}.png")
        pins[preset] = symbols(data)
        print(preset, len(data), "bytes", round(psnr(image, picture()), 2), "dB")
    PINS.write_text(json.dumps(pins, indent=1) + "\n")


if __name__ == "__main__":
    make()
