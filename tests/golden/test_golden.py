"""Files that were written once must decode to the same symbols for ever.

    python tests/golden/test_golden.py [NAME ...]

makes them again. That is right only after a deliberate change of the format, with a new version in
the container, because it gives up all files that users have.
"""

import hashlib
import io
import json
import os
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import overfit
from overfit import decoding, method
from overfit.bases import library
from overfit.coding import clip_container
from overfit.io.clip import Clip
from overfit.io.clips import as_yuv420
from overfit.metrics.psnr import psnr

FOLDER = Path(__file__).parent
PINS = FOLDER / "golden.json"
PRESETS = ("c3-kodak", "c3-clic", "coolchic-v2")
# Of masks in two patches, of one network with 3x3x3 convolutions, of a network for each grid, of
# frames on a canvas, of two patches with a base.
CLIPS = ("clip", "clip-shared", "clip-separate", "clip-motion", "clip-based")


def picture() -> np.ndarray:
    """Waves, an edge and a little noise: uint8 [40, 48, 3]."""
    y, x = np.mgrid[:40, :48] / 10
    waves = np.stack([np.sin(1.3 * x + y), np.cos(x - 0.7 * y), np.sin(0.5 * x * y)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 3, waves.shape)
    edge = np.where(x + y > 5, 40, -20)[..., None]
    return np.clip(115 + 60 * waves + edge + noise, 0, 255).astype(np.uint8)


def moving() -> np.ndarray:
    """The picture, seen through a window that moves: uint8 [4, 24, 32, 3]."""
    return np.stack([picture()[2 * t : 24 + 2 * t, 3 * t : 32 + 3 * t] for t in range(4)])


def parts(data: bytes) -> list[tuple]:
    """(method, base, sections, code) of a file, or of every patch of a clip's."""
    if clip_container.is_clip(data):
        reader = clip_container.Reader(io.BytesIO(data))
        codec = method.load(reader.head.method)
        patches = [reader.patch(i, len(codec.sections)) for i in range(reader.head.count)]
        files = [
            (library.needed(patch.base, codec.name) if patch.base else None, patch.sections)
            for patch in patches
        ]
    else:
        codec, sections = decoding.open_sections(data)
        files = [(decoding.base_of(data), sections)]
    return [(codec, base, sections, codec.read(sections, base)) for base, sections in files]


def symbols(data: bytes) -> dict[str, str]:
    """Hashes of all integers that a file carries, in big-endian 64-bit words."""
    latents, parameters = hashlib.sha256(), hashlib.sha256()
    for codec, _, _, code in parts(data):
        if codec.groups is not None:
            latents.update(code.base.stream.data)
            planes, networks = [], [arrays for group in code.networks for arrays in group.values()]
        else:
            planes, networks = code.latents, code.parameters.values()
        for plane in planes:
            latents.update(plane.astype(">i8").tobytes())
        for arrays in networks:
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


@pytest.mark.parametrize("name", CLIPS)
def test_an_old_clip_decodes_to_the_same_symbols_and_frames(name, monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(FOLDER))
    data = (FOLDER / f"{name}.ovf").read_bytes()
    assert symbols(data) == json.loads(PINS.read_text())[name]
    frames = decoding.decode(data)
    expected = np.asarray(Image.open(FOLDER / f"{name}.png")).reshape(frames.shape)
    assert np.abs(frames.astype(int) - expected).max() <= 1
    assert psnr(frames, moving()) > 20
    about = decoding.info(data)
    assert (about["frames"], about["height"], about["width"], about["fps"]) == (4, 24, 32, 25)
    assert len(data) < 3000


def test_an_old_file_with_a_base_decodes_to_the_same_symbols_and_picture(monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(FOLDER))
    data = (FOLDER / "based.ovf").read_bytes()
    assert symbols(data) == json.loads(PINS.read_text())["based"]
    expected = np.asarray(Image.open(FOLDER / "based.png"))
    assert np.abs(decoding.decode(data).astype(int) - expected).max() <= 1
    assert psnr(expected, picture()) > 20


def test_an_old_clip_in_groups_decodes_to_the_same_symbols_and_frames():
    pytest.importorskip("av")
    data = (FOLDER / "groups.ovf").read_bytes()
    assert symbols(data) == json.loads(PINS.read_text())["groups"]
    decoded = decoding.decode(data)
    assert (decoded.format, decoded.frames, decoded.fps) == ("yuv420", 4, 25)
    expected = np.asarray(Image.open(FOLDER / "groups.png"))
    assert np.abs(_luma(decoded).astype(int) - expected).max() <= 1
    assert psnr(decoded.planes[0], as_yuv420(Clip((moving(),), Fraction(25))).planes[0]) > 20


def odd() -> Clip:
    """`moving` in 4:2:0, of 31x23 pixels."""
    return as_yuv420(Clip((moving()[:, :23, :31],), Fraction(25)))


def test_an_old_420_clip_decodes_to_the_same_symbols_and_frames():
    data = (FOLDER / "clip-yuv420.ovf").read_bytes()
    assert symbols(data) == json.loads(PINS.read_text())["clip-yuv420"]
    decoded = decoding.decode(data)
    assert decoded.shape == odd().shape
    expected = np.asarray(Image.open(FOLDER / "clip-yuv420.png"))
    assert np.abs(_luma(decoded).astype(int) - expected).max() <= 1
    for plane, original in zip(decoded.planes, odd().planes, strict=True):
        assert psnr(plane, original) > 20
    assert len(data) < 3000 and decoding.info(data)["patches"] == 2


def _luma(clip: Clip) -> np.ndarray:
    """Its frames one below the other."""
    return clip.planes[0].reshape(-1, clip.width)


def make() -> None:
    """Makes all files, or those named on the command line."""
    chosen = sys.argv[1:] or [*PRESETS, *CLIPS, "clip-yuv420", "based", "groups"]
    pins = json.loads(PINS.read_text()) if PINS.exists() else {}
    for name in chosen:
        data = MAKERS.get(name, _image)(name)
        (FOLDER / f"{name}.ovf").write_bytes(data)
        decoded = overfit.decode(data)
        rows = _luma(decoded) if isinstance(decoded, Clip) else decoded
        rows = rows if rows.ndim == 2 else rows.reshape(-1, *rows.shape[-2:])
        Image.fromarray(rows).save(FOLDER / f"{name}.png")
        pins[name] = symbols(data)
        print(name, len(data), "bytes")
    PINS.write_text(json.dumps(pins, indent=1) + "\n")


def _image(preset: str) -> bytes:
    return overfit.encode(picture(), preset=preset, lmbda=1e-3, steps=800, base="none")


def _clip(name: str) -> bytes:
    changes = {"latents.num_grids": 3, "entropy.frame": 8, "start.mask_steps": 200}
    return overfit.encode(
        moving(), preset="c3-uvg-masked", lmbda=1e-3, steps=400, patch=(4, 24, 16), set=changes
    )


def _whole_clip(name: str) -> bytes:
    changes = {"latents.num_grids": 3, "entropy.frame": 1, "entropy.context": 2}
    changes |= {"synthesis.per_frame": name == "clip-separate", "synthesis.widths": (12, 12)}
    preset = name.replace("clip", "c3-uvg")
    return overfit.encode(moving(), preset=preset, lmbda=1e-3, steps=400, set=changes)


def _moving_clip(name: str) -> bytes:
    changes = {"latents.num_grids": 3, "entropy.frame": 1, "entropy.context": 2}
    changes |= {"start.motion": 8, "synthesis.widths": (12, 12)}
    return overfit.encode(moving(), lmbda=1e-3, steps=400, set=changes)


def _yuv420_clip(name: str) -> bytes:
    changes = {"latents.num_grids": 3, "entropy.frame": 1, "entropy.context": 2}
    changes |= {"samples.format": "yuv420", "synthesis.widths": (12, 12)}
    return overfit.encode(odd(), lmbda=1e-3, steps=400, patch=(4, 24, 16), set=changes)


def _based(name: str) -> bytes:
    """With a base that is made anew, too: base.ovb."""
    from overfit.bases.base import pack
    from overfit.io.datasets import find_all
    from overfit.meta.train import Plan, train

    changes = {"entropy.widths": (8,), "synthesis.widths": (8,)}
    plan = Plan(set=changes, outer_steps=4, batch=2, steps=200, crop=32, held_out=0)
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(picture()[:, ::-1]).save(Path(folder) / "mirrored.png")
        (FOLDER / "base.ovb").write_bytes(pack(train(find_all([folder]), plan)))
    os.environ["OVERFIT_BASES"] = str(FOLDER)
    return overfit.encode(picture(), base="base", set=changes, lmbda=1e-3, steps=400)


def _clip_based(name: str) -> bytes:
    """With a base that is made anew, too: clip-base.ovb."""
    from overfit.bases.base import pack
    from overfit.io.datasets import find_all
    from overfit.meta.train import Plan, train

    changes = {"latents.num_grids": 3, "entropy.widths": (8,), "entropy.frame": 1}
    changes |= {"entropy.context": 2, "synthesis.widths": (8,)}
    plan = Plan(set=changes, outer_steps=4, batch=2, steps=200, crop=16, held_out=0)
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "mirrored"
        inside.mkdir()
        for t, frame in enumerate(moving()[:, :, ::-1]):
            Image.fromarray(frame).save(inside / f"{t}.png")
        (FOLDER / "clip-base.ovb").write_bytes(pack(train(find_all([f"clips:{folder}"]), plan)))
    os.environ["OVERFIT_BASES"] = str(FOLDER)
    return overfit.encode(
        moving(), base="clip-base", set=changes, lmbda=1e-3, steps=400, patch=(4, 24, 16)
    )


def _groups(name: str) -> bytes:
    """Four groups of zero latency: the second network is coded as changes of the first."""
    changes = {
        "group": 1, "attention": 0, "feature.layers": ("P4",), "position.layers": ("P3",),
        "denoiser.layers": ("P3", "D", "P6"), "training.batch": 8, "training.patch_height": 16,
        "training.patch_width": 16, "base.blocks": "none",
    }  # fmt: skip
    clip = Clip((moving(),), Fraction(25))
    return overfit.encode(
        clip, method="upsampler", preset="klopp21-zero-latency", qp=27, steps=200, set=changes
    )


MAKERS = {
    "clip": _clip,
    "clip-shared": _whole_clip,
    "clip-separate": _whole_clip,
    "clip-motion": _moving_clip,
    "clip-yuv420": _yuv420_clip,
    "clip-based": _clip_based,
    "based": _based,
    "groups": _groups,
}


if __name__ == "__main__":
    make()
