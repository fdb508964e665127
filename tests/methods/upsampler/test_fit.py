"""From a clip through the engine to a file, and back in another process."""

import dataclasses
import json
import subprocess
import sys
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.bases.base import start
from overfit.codecs import hevc_blocks
from overfit.codecs.base_stream import checksum, pictures
from overfit.coding import container, parameters
from overfit.engine import fit, parameter_steps
from overfit.engine.schedule import Schedule
from overfit.errors import UserError
from overfit.io.clip import Clip
from overfit.methods.upsampler import METHOD, codec, model, preparation
from overfit.methods.upsampler.architecture import parameter_shapes
from overfit.methods.upsampler.config import (
    Base,
    DenoiserConfig,
    Network,
    Training,
    UpsamplerConfig,
)
from overfit.methods.upsampler.quantizer import lmbda_of
from overfit.metrics.psnr import psnr

av = pytest.importorskip("av")
PictureType = av.video.frame.PictureType

FAST = Base(speed="veryfast")
SMALL = UpsamplerConfig(
    feature=Network(("P4",)),
    position=Network(("P3",)),
    denoiser=Network(("P3", "D", "P6"), True),
    attention=0,
    group=3,
    base=FAST,
    training=Training(batch=8, patch_height=16, patch_width=20),
)
INIT = jax.jit(model.init, static_argnums=3)


def moving(frames=4, height=45, width=61):
    """Stripes and edges that move: 4:2:0 of a size that neither 2 nor 4 divides."""
    y, x = np.mgrid[:height, :width]
    stripes = np.sign(np.sin((y + np.arange(frames)[:, None, None]) / 7))
    luma = [128 + 60 * np.sin((x + 2 * t) / 1.5) * stripes[t] for t in range(frames)]
    rows, columns = -(-height // 2), -(-width // 2)
    y, x = np.mgrid[:rows, :columns]
    u, v = ([128 + 40 * np.cos((x + s * y + t) / 3) for t in range(frames)] for s in (1, 2))
    return Clip(tuple(np.stack(p).astype(np.uint8) for p in (luma, u, v)), Fraction(25))


def schedule(config, steps):
    """As arrays, which the engine traces."""
    values = Schedule()._asdict() | dataclasses.asdict(config.fit)
    values |= {"steps": steps, "stage2_steps": 0}
    return Schedule(
        **{
            name: np.asarray(value, np.int32 if isinstance(value, int) else np.float32)
            for name, value in values.items()
        }
    )


def fitted(groups, config, steps):
    """Final states of some groups of equal shape, fitted together."""
    states = []
    for seed, group in enumerate(groups):
        key = jax.random.key(seed)
        signal = model.Signal(*map(jnp.asarray, group))
        state = fit.initial_state(INIT(key, signal, None, config), key, schedule(config, steps))
        states.append((state, fit.Task(None, signal, schedule(config, steps), np.float32(0))))
    stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *states)
    return fit.advance(*fit.spread(*stacked), steps, METHOD.loss, config)


def quantized(params, group, config, lmbda, base=None):
    return METHOD.quantize(params, base, group, lmbda, config, parameter_steps.search)


def random_delta(config):
    rng = np.random.default_rng(0)
    return {
        name: {
            array: parameters.quantize(rng.normal(0, 0.1, shape), 6) for array, shape in own.items()
        }
        for name, own in parameter_shapes(config).items()
    }


DECODE = """
import json, sys, zlib
from overfit.codecs.base_stream import checksum, pictures
from overfit.coding import container, parameters
from overfit.methods.upsampler import METHOD
sections = container.unpack(open(sys.argv[1], "rb").read(), len(METHOD.sections))
clip = METHOD.reconstruct(METHOD.read(sections, None), None)
loaded = [name for name in sys.modules if name.split(".")[0] in ("jax", "flax", "optax")]
print(json.dumps([checksum(clip), [*clip.planes[0].shape], loaded]))
"""


def plainly_enlarged(code):
    """The clip of a file without its networks, in one group of zero latency."""
    config = dataclasses.replace(code.config, latency="zero", group=code.shape.frames)
    return METHOD.reconstruct(code._replace(config=config, networks=[]), None)


@pytest.fixture(scope="module")
def offline():
    """(clip, code, sections, groups) of two groups of three frames."""
    clip = moving(6)
    coded = preparation.encode_base(clip, 30, SMALL)
    groups = list(preparation.groups(clip, coded, SMALL))
    states = fitted(groups, SMALL, 60)
    assert np.asarray(states.failures).tolist() == [0, 0]
    deltas = [
        quantized(jax.tree.map(lambda x, i=i: x[i], states.best_params), group, SMALL, 1e-5)
        for i, group in enumerate(groups)
    ]
    code = codec.assemble(clip.shape, coded, deltas, SMALL)
    return clip, code, list(METHOD.write(code, None).values()), groups


def test_the_networks_improve_the_picture(offline):
    clip, code, sections, _ = offline
    assert len(code.networks) == 2
    decoded, plain = METHOD.reconstruct(METHOD.read(sections, None), None), plainly_enlarged(code)
    assert decoded.shape == clip.shape
    gains = [
        psnr(original, ours) - psnr(original, base)
        for original, ours, base in zip(clip.planes, decoded.planes, plain.planes, strict=True)
    ]
    assert gains[0] > 0.3 and min(gains) > -0.2


@pytest.mark.skipif(hevc_blocks.missing() is not None, reason="no libde265")
def test_another_process_decodes_the_same_clip_without_jax(offline, tmp_path):
    _, code, sections, _ = offline
    assert code.base.blocks and code.base.stream.codec == "x265"
    (tmp_path / "a.ovf").write_bytes(container.pack("upsampler", sections))
    command = [sys.executable, "-c", DECODE, str(tmp_path / "a.ovf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [checksum(METHOD.reconstruct(code, None)), [6, 45, 61], []]


def test_the_decoder_needs_the_blocks_that_the_encoder_used(offline, monkeypatch):
    _, code, _, _ = offline
    monkeypatch.setattr(hevc_blocks, "missing", lambda: "needs libde265")
    with pytest.raises(UserError, match="needs libde265"):
        METHOD.reconstruct(code, None)
    without = dataclasses.replace(SMALL, base=dataclasses.replace(FAST, blocks="hevc"))
    with pytest.raises(UserError, match="needs libde265"):
        preparation.encode_base(moving(2), 30, without)
    # The order: HEVC, H.264, nothing; the file says which.
    assert preparation.choose_blocks(SMALL) == ("x264", True)


def test_with_zero_latency_a_group_has_the_network_of_the_one_before(offline):
    _, code, _, _ = offline
    zero = dataclasses.replace(SMALL, latency="zero")
    first = codec.assemble(code.shape, code.base, code.networks, zero)
    ours, plain = METHOD.reconstruct(first, None), plainly_enlarged(code)
    assert np.array_equal(ours.planes[0][:3], plain.planes[0][:3])
    assert not np.array_equal(ours.planes[0][3:], plain.planes[0][3:])


def test_with_zero_latency_the_base_has_no_b_frames(offline):
    clip, code, _, _ = offline
    zero = preparation.encode_base(clip, 30, dataclasses.replace(SMALL, latency="zero"))
    shape = preparation.base_shape(clip.shape, SMALL)
    b_frames = [
        any(picture.pict_type == PictureType.B for picture in pictures(base.stream, shape))
        for base in (code.base, zero)
    ]
    assert b_frames == [True, False]


@pytest.mark.parametrize("blocks, codec_name", [("h264", "x264"), ("none", "x265")])
def test_stand_ins_for_hevc_blocks_make_files_too(blocks, codec_name):
    config = dataclasses.replace(SMALL, base=dataclasses.replace(FAST, blocks=blocks))
    clip = moving(2)
    coded = preparation.encode_base(clip, 30, config)
    (group,) = preparation.groups(clip, coded, config)
    assert group.blocks.any() == (blocks == "h264")
    code = codec.assemble(clip.shape, coded, [random_delta(config)], config)
    again = METHOD.read(list(METHOD.write(code, None).values()), None)
    assert again.base.stream.codec == codec_name and again.base.blocks == (blocks != "none")
    decoded = METHOD.reconstruct(again, None)
    assert decoded.shape == clip.shape and psnr(clip.planes[0], decoded.planes[0]) > 10


def test_a_base_in_a_checkpoint_is_taken_where_it_would_be_chosen_again(offline):
    base = offline[1].base
    saved = preparation.save_base(base)
    assert preparation.restore_base(saved, SMALL) == base
    other = dataclasses.replace(SMALL, base=dataclasses.replace(FAST, blocks="h264"))
    assert preparation.restore_base(saved, other) is None


def test_layers_that_do_not_fit_together_are_refused_before_anything_is_coded():
    config = dataclasses.replace(SMALL, position=Network(("P4",)))
    with pytest.raises(UserError, match="position: its last layer must have 3 outputs, not 4"):
        preparation.encode_base(moving(1), 30, config)


def test_six_steps_of_qp_are_four_times_the_error():
    assert lmbda_of(36) == pytest.approx(4 * lmbda_of(30))
    assert lmbda_of(12) * 255**2 == pytest.approx(0.85)


def test_patches_come_from_the_frames_that_are_available():
    small = jnp.zeros((8, 6, 4, 4), jnp.uint8)
    group = model.Signal(jnp.zeros((8, 6, 8, 8), jnp.uint8), small, small)
    draw = jax.jit(lambda key, share: model.random_patches(key, group, share, 200, SMALL).place)
    for share, last in ((0.0, 0), (0.13, 1), (0.5, 3), (1.0, 7)):
        place = draw(jax.random.key(1), share)
        assert (int(place.frame.min()), int(place.frame.max())) == (0, last)


def test_a_network_equal_to_its_base_costs_next_to_nothing(offline):
    clip, code, sections, groups = offline
    base = codec.after(code.networks[0])
    params = INIT(jax.random.key(0), model.Signal(*map(jnp.asarray, groups[0])), start(base), SMALL)
    delta = quantized(params, groups[0], SMALL, lmbda=1e-3, base=base)
    again = METHOD.write(codec.assemble(clip.shape, code.base, [delta] * 2, SMALL), base)
    assert len(again["networks"]) < len(sections[1]) / 3


def test_the_denoiser_of_2020_improves_a_base_of_full_resolution():
    config = DenoiserConfig(
        luma=Network(("P3", "D", "P4"), True),
        chroma=Network(("P8",), True),
        base=Base(speed="veryfast", qp_offset=0, blocks="none"),
        training=SMALL.training,
    )
    clip = moving(2)
    coded = preparation.encode_base(clip, 36, config)
    (group,) = preparation.groups(clip, coded, config)
    assert group.decoded.shape == group.original.shape and group.blocks.size == 0
    states = fitted([group], config, 60)
    error = (group.original / 255.0 - group.decoded / 255.0) ** 2
    before = 0.75 * error[:, :4].mean() + 0.125 * (error[:, 4].mean() + error[:, 5].mean())
    assert float(states.distortion[0]) < 0.95 * before
    code = codec.assemble(clip.shape, coded, [random_delta(config)], config)
    again = METHOD.read(list(METHOD.write(code, None).values()), None)
    assert METHOD.reconstruct(again, None).shape == clip.shape
