"""Clips whose patches start from a base: learned from clips, needed by the file, found again."""

import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from small_model import SMALL as STILL
from small_model import ignorant

import overfit
from overfit.bases import library
from overfit.bases.base import pack
from overfit.coding.clip_container import Reader
from overfit.errors import UserError
from overfit.fitting.encode import fits_of
from overfit.fitting.groups import Options, Request
from overfit.io.clip import Clip
from overfit.io.clips import as_yuv420
from overfit.io.datasets import find_all
from overfit.meta.sources import source_of
from overfit.meta.train import Plan, train
from overfit.metrics.psnr import psnr

SIZE, PATCH = (4, 16, 24), (2, 16, 24)
SMALL = STILL | {"entropy.frame": 1}
MASKED = SMALL | {
    "entropy.frame": 4, "entropy.mask": 2, "entropy.mask_grids": 1, "start.mask_steps": 100,
}  # fmt: skip
STEPS = 150
PLAN = Plan(
    preset="c3-uvg-shared", set=SMALL, outer_steps=4, batch=2, steps=STEPS, crop=16, frames=2
)


def moving(picture, seed: int) -> np.ndarray:
    """A picture that moves: uint8 [T, H, W, 3]."""
    frames, height, width = SIZE
    still = picture(height + frames, width + 2 * frames, seed=seed)
    return np.stack([still[t : t + height, 2 * t : 2 * t + width] for t in range(frames)])


@pytest.fixture(scope="module")
def clips(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(5):
        (folder / str(seed)).mkdir()
        for t, frame in enumerate(moving(picture, seed)):
            Image.fromarray(frame).save(folder / str(seed) / f"{t}.png")
    return find_all([f"clips:{folder}"])


@pytest.fixture(scope="module")
def home(clips, tmp_path_factory):
    """Where the bases are kept: one of a shared network, one of networks with masks."""
    folder = tmp_path_factory.mktemp("bases")
    (folder / "moving.ovb").write_bytes(pack(train(clips, PLAN)))
    masked = PLAN._replace(
        preset="c3-uvg-masked", set=MASKED, outer_steps=2, held_out=0, encoder_batches=0
    )
    (folder / "masked.ovb").write_bytes(pack(train(clips, masked)))
    return folder


@pytest.fixture(autouse=True)
def kept(home, monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(home))


@pytest.fixture(scope="module")
def unseen(picture):
    return moving(picture, 9)


def encode(clip, **options):
    options = {"set": SMALL, "steps": STEPS, "lmbda": 1e-3, "patch": PATCH} | options
    return overfit.encode(clip, **options)


def cost(clip, data):
    error = (overfit.decode(data).astype(float) - clip) / 255
    return np.mean(error**2) + 1e-3 * 8 * len(data) / clip[..., 0].size


def test_a_clip_from_a_base_is_better_and_its_networks_smaller(unseen):
    plain, based = encode(unseen), encode(unseen, base="moving")
    assert cost(unseen, based) < cost(unseen, plain)
    networks = [overfit.info(data)["bits"]["networks"] for data in (plain, based)]
    assert networks[1] < networks[0]
    assert overfit.info(plain)["base"] is None
    assert overfit.info(based)["base"] == library.find("moving").identity[:6]
    reader = Reader(io.BytesIO(based))
    assert {reader.patch(i, 3).base for i in range(2)} == {library.find("moving").prefix}


def test_without_its_base_a_clip_is_refused(unseen, tmp_path, monkeypatch):
    data = encode(unseen, base="moving")
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path))
    for read in (overfit.decode, overfit.info):
        with pytest.raises(UserError, match="bases import"):
            read(data)


def test_masks_find_their_places_beside_a_base(unseen):
    """Their search has networks of its own."""
    data = encode(unseen, base="masked", preset="c3-uvg-masked", set=MASKED)
    assert overfit.info(data)["base"] == library.find("masked").identity[:6]
    assert psnr(unseen, overfit.decode(data)) > 20
    names = library.find("masked").load().arrays
    assert "entropy/frame_w" in names and not any("masks" in name for name in names)


def test_frames_lie_on_a_canvas_beside_a_base(unseen):
    data = encode(unseen, base="moving", set=SMALL | {"latents.margin": (8, 8), "start.motion": 4})
    about = overfit.info(data)
    assert about["settings"]["latents.margin"] == (8, 8) and about["base"]
    assert psnr(unseen, overfit.decode(data)) > 20


def test_each_patch_takes_the_best_of_several_bases(unseen, home):
    (home / "poor.ovb").write_bytes(pack(ignorant(library.find("moving").load())))
    assert encode(unseen, base="poor,moving") == encode(unseen, base="moving")
    (home / "poor.ovb").unlink()


def test_the_shipped_base_for_the_networks_is_the_default(unseen, home, monkeypatch):
    monkeypatch.setattr(library, "shipped", lambda: [library.load(home / "moving.ovb")])
    options = Options(set=SMALL, base="auto", patch=PATCH)

    def names(clip, options):
        return {one.base_prefix for one in fits_of(Request(clip, options))}

    rgb = Clip((unseen,), Fraction(25))
    assert names(rgb, options) == {library.find("moving").prefix}
    assert names(rgb, options._replace(base="none")) == {b""}
    assert names(rgb, options._replace(set=MASKED, preset="c3-uvg-masked")) == {b""}


def test_a_base_of_other_networks_is_refused(unseen):
    yuv420 = as_yuv420(Clip((unseen,), Fraction(25)))
    for clip, changes in (
        (unseen, {"entropy.frame": 2}),
        (yuv420, {"samples.format": "yuv420"}),
    ):
        with pytest.raises(UserError, match="other networks"):
            encode(clip, base="moving", set=SMALL | changes)


def test_training_needs_room_for_a_crop(clips):
    with pytest.raises(UserError, match="smaller than 32 px"):
        train(clips, PLAN._replace(crop=32))


def test_the_first_clips_are_held_out(clips):
    source = source_of(clips, PLAN)
    assert source.held_out is not None and len(source.held_out.fits) == 1
    assert source.held_out.fits[0].signal.shape == (3, 2, 16, 16)
    first, again = source.batch(3), source.batch(3)
    for one, same in zip(first.fits, again.fits, strict=True):
        np.testing.assert_array_equal(one.signal, same.signal)
        assert one.options == same.options
