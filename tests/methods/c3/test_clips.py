"""C3 for clips: what the models see, files frame by frame, and a fit with learned masks."""

import dataclasses
import functools
import math
import time
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit import method, settings
from overfit.coding import laplace
from overfit.coding.container import write_varint
from overfit.coding.parameters import quantize
from overfit.engine import fit, parameter_steps
from overfit.engine.schedule import Schedule
from overfit.errors import UserError
from overfit.methods.c3 import codec, frame_context, latent_coding, masks, model, samples
from overfit.methods.c3.architecture import entropy_sizes, num_masks, parameter_shapes
from overfit.methods.c3.codec import Code
from overfit.methods.c3.complexity import macs
from overfit.methods.c3.config import (
    CLIP_PRESETS,
    KODAK,
    C3Config,
    Entropy,
    Latents,
    Samples,
    Synthesis,
)
from overfit.metrics.psnr import psnr
from overfit.nn import distributions

C3 = method.load("c3")
# Programs that run a few times only: compiling them fast matters more than their speed.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

VOLUME = settings.override(CLIP_PRESETS["c3-uvg-separate"], {"synthesis.per_frame": "false"})
FILM = settings.override(
    CLIP_PRESETS["c3-uvg-shared"],
    {"entropy.per_grid": "film", "synthesis.upsampling": "lanczos3", "entropy.widths": "5"},
)
MOVING = settings.override(CLIP_PRESETS["c3-uvg-shared"], {"latents.margin": "8,0"})
CONFIGS = CLIP_PRESETS | {
    "3x3x3": VOLUME,
    "FiLM, Lanczos": FILM,
    "an image's settings": KODAK,
    "motion": MOVING,
    "motion, 3x3x3": settings.override(VOLUME, {"latents.margin": "5,16"}),
}
PLACES = ((-5, 7), (2, -9), (29, -32))


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# -- What is seen ----------------------------------------------------------------------------------


def tiny(**entropy):
    return C3Config(
        latents=Latents(num_grids=2),
        entropy=Entropy(
            **{"widths": (3,), "context": 1, "per_grid": "separate", "log_scale_shift": 0} | entropy
        ),
        synthesis=Synthesis(widths=(4,), residual_layers=1),
    )


def entropy_weights(config, **options):
    start = functools.partial(model.init, base=None, config=config, **options)
    shapes = jax.eval_shape(start, jax.random.key(0), jax.ShapeDtypeStruct((3, 4, 6, 6), "float32"))
    leaves, tree = jax.tree.flatten(shapes["entropy"])
    return jax.tree.unflatten(tree, [normal(i, *x.shape) / 3 for i, x in enumerate(leaves)])


def dependencies(config, weights, shapes, places, monkeypatch):
    """[i, j]: whether the location predicted for latent i depends on latent j."""
    count, marker = sum(map(math.prod, shapes)), 99.0

    def location_where_marked(x, loc, scale):
        return jnp.where(x == marker, loc, 0.0)

    monkeypatch.setattr(distributions, "laplace_bits", location_where_marked)

    def location(latents, i):
        return model.latent_bits(weights, latents.at[i].set(marker), shapes, config, places)

    gradients = jit(jax.vmap(jax.grad(location), (None, 0)))
    gradient = gradients(normal(0, count), jnp.arange(count))
    # The Fourier transform leaves traces of rounding everywhere.
    return np.abs(gradient) > 1e-5


def expected(shape, radius, rows, columns):
    """[i, j] within one grid: causal neighbors, and (rows x columns) offsets a frame before."""
    t, y, x = (index.ravel() for index in np.indices(shape))
    dt, dy, dx = (n[None] - n[:, None] for n in (t, y, x))
    above = (dy < 0) & (dy >= -radius) & (abs(dx) <= radius)
    left = (dy == 0) & (dx < 0) & (dx >= -radius)
    return (dt == 0) & (above | left) | (dt == -1) & np.isin(dy, rows) & np.isin(dx, columns)


AROUND = range(-2, 3)
SEEN = {  # config, whole window, offsets in the frame before of both grids
    "none": (tiny(), False, ((), ()), ((), ())),
    "window": (tiny(frame=2), False, (AROUND, AROUND), (AROUND, AROUND)),
    "shared window": (tiny(frame=2, per_grid="shared"), False, (AROUND, AROUND), (AROUND, AROUND)),
    "mask": (tiny(frame=4, mask=2, mask_grids=1), False, ((-4, -3), (2, 3)), ((), ())),
    "two masks": (tiny(frame=4, mask=2), False, ((-4, -3), (2, 3)), ((1, 2), (0, 1))),
    "search": (tiny(frame=4, mask=2, mask_grids=1), True, (range(-4, 5),) * 2, ((), ())),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_latent_sees_its_causal_neighbors_and_its_part_of_the_frame_before(name, monkeypatch):
    config, whole, *offsets = SEEN[name]
    shapes = ((3, 6, 5), (2, 3, 3))
    weights = entropy_weights(config, whole_window=whole)
    places = jnp.asarray([[-4.0, 2.0], [1.0, 0.0]])
    seen = dependencies(config, weights, shapes, places[: num_masks(config)], monkeypatch)
    first = math.prod(shapes[0])
    for grid, part in enumerate((seen[:first, :first], seen[first:, first:])):
        np.testing.assert_array_equal(part, expected(shapes[grid], 1, *offsets[grid]))
    assert not seen[:first, first:].any() and not seen[first:, :first].any()


def test_a_mask_is_put_where_the_weights_are_largest():
    config = tiny(frame=4, mask=2)
    window = np.abs(np.random.default_rng(0).normal(size=(2, 3, 9, 9)))
    window[0, :, 0:2, 7:9] -= 5  # by magnitude
    window[1, :, 4:6, 3:5] += 5
    places = masks.best_places(jnp.asarray(window, jnp.float32), config)
    np.testing.assert_array_equal(places, [[-4, 3], [0, -1]])


@pytest.mark.parametrize(
    "setting, signal",
    [
        ({"entropy.frame": 1}, (3, 8, 8)),
        ({"synthesis.per_frame": False}, (3, 8, 8)),
        ({"entropy.previous": 1}, (3, 4, 8, 8)),
        ({"synthesis.upsampling": "learned"}, (3, 4, 8, 8)),
        ({"samples.format": "yuv420"}, (3, 8, 8)),
    ],
)
def test_settings_of_images_and_clips_are_not_mixed(setting, signal):
    config = settings.override(KODAK, setting)
    with pytest.raises(UserError, match=next(iter(setting))):
        model.init(jax.random.key(0), jnp.zeros(signal), None, config)


@pytest.mark.parametrize(
    "entropy",
    [
        {"frame": 7}, {"frame": 63, "mask": 4, "per_grid": "separate"}, {"frame": 32, "mask": 4},
        {"frame": 1, "mask": 4, "per_grid": "separate"}, {"mask": 4, "per_grid": "separate"},
        {"frame": 4, "mask": 8, "per_grid": "separate"}, {"mask_grids": 0},
    ],
)  # fmt: skip
def test_contexts_that_no_file_can_hold_are_refused(entropy):
    with pytest.raises(ValueError, match="entropy"):
        Entropy(**entropy)


# -- Files -----------------------------------------------------------------------------------------


def random_parameters(rng, config: C3Config, channels: int):
    parameters = {
        network: {n: quantize(rng.normal(0, 0.5 * s[-1] ** -0.5, s), 9) for n, s in arrays.items()}
        for network, arrays in parameter_shapes(config, channels).items()
    }
    for name, array in parameters["entropy"].items():
        if name.startswith("scale"):
            array.k[:] += 512
    scale = -2 * math.log(1.5 * config.latents.q_step) - config.entropy.log_scale_shift
    parameters["entropy"][f"b{len(config.entropy.widths)}"].k[..., 1] += round(512 * scale)
    parameters["synthesis"][f"b{len(config.synthesis.widths)}"].k[:] += 256
    return parameters


def random_code(config: C3Config, shape, seed=0) -> Code:
    rng = np.random.default_rng(seed)
    parameters = random_parameters(rng, config, shape[0])
    latents = [
        np.rint(rng.laplace(0, 1.5, plane)).astype(np.int32)
        for plane in config.latents.shapes(*shape[1:])
    ]
    margin = config.latents.margin
    places = tuple(tuple(map(int, rng.integers(0, np.add(margin, 1)))) for _ in range(shape[1]))
    masks = PLACES if config.entropy.mask else ()
    return Code(config, shape, parameters, latents, masks, places if any(margin) else ())


class Sampler:
    """Stands in for a decoder: draws values from the models that it is given."""

    def __init__(self):
        self._rng = np.random.default_rng(0)

    def code(self, values, location, scale):
        del values
        spread = 2.0 ** (scale / laplace.SCALE_UNITS + laplace.MIN_LOG2_SCALE)
        return np.rint(location / 32 + spread * self._rng.laplace(size=scale.shape)).astype(int)


def sampled_code(config: C3Config, shape) -> Code:
    """Latents that follow the entropy network's own predictions."""
    code = random_code(config, shape)
    shapes, entropy = config.latents.shapes(*shape[1:]), code.parameters["entropy"]
    latents = latent_coding.code_latents(Sampler(), None, shapes, entropy, config, code.masks)
    return code._replace(latents=latents)


def sections_of(code: Code) -> list[bytes]:
    return list(codec.write(code).values())


SHAPES = [(3, 5, 21, 37), (1, 5, 21, 37), (3, 1, 7, 5), (1, 1, 1, 1), (3, 40, 1, 2), (3, 2, 40, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_clips_come_back(name, shape):
    config = CONFIGS[name]
    code = random_code(config, shape)
    sections = sections_of(code)
    again = codec.read(sections)
    carried = dataclasses.replace(
        config, quantizer=KODAK.quantizer, fit=KODAK.fit, start=KODAK.start
    )
    assert (again.config, again.shape) == (carried, shape)
    assert (again.masks, again.places) == (code.masks, code.places)
    for network, arrays in code.parameters.items():
        for array_name, array in arrays.items():
            assert again.parameters[network][array_name].e == array.e
            np.testing.assert_array_equal(again.parameters[network][array_name].k, array.k)
    for plane, original in zip(again.latents, code.latents, strict=True):
        np.testing.assert_array_equal(plane, original)
    clip = codec.reconstruct(again)
    assert clip.shape == (*shape[1:], 3)[: 4 if shape[0] == 3 else 3] and clip.dtype == np.uint8
    np.testing.assert_array_equal(np.stack(list(codec.frames(sections))), clip)


@pytest.mark.parametrize("name", ["c3-uvg-shared", "c3-uvg-masked"])
def test_the_file_is_as_large_as_the_fit_estimates(name):
    """The fit trades distortion against this estimate; files must keep what it promises."""
    config = CONFIGS[name]
    code = sampled_code(config, (3, 6, 40, 48))
    weights = {n: jnp.asarray(a.value()) for n, a in code.parameters["entropy"].items()}
    flat = jnp.concatenate([jnp.asarray(p, jnp.float32).ravel() for p in code.latents])
    shapes, places = config.latents.shapes(6, 40, 48), jnp.asarray(code.masks, jnp.float32)
    rate = jit(lambda w, x, p: model.latent_bits(w, x, shapes, config, p))
    estimate = float(rate(weights, flat, places)) / 8
    real = len(codec.write(code)["latents"])
    assert real > 1000
    assert abs(real - estimate) <= 0.005 * estimate + 64
    spent = latent_coding.latent_bits(code.latents, code.parameters["entropy"], config, code.masks)
    assert abs(real - sum(bits.sum() for bits in spent) / 8) < 8


@pytest.mark.parametrize(
    "name", ["c3-uvg-masked", "3x3x3", "FiLM, Lanczos", "motion", "motion, 3x3x3"]
)
def test_the_decoder_shows_what_the_fit_sees(name):
    config, shape = CONFIGS[name], (3, 5, 21, 37)
    code = random_code(config, shape, seed=4)
    weights = {n: jnp.asarray(a.value()) for n, a in code.parameters["synthesis"].items()}
    planes = [jnp.asarray(p, jnp.float32) * np.float32(config.latents.q_step) for p in code.latents]
    places = jnp.asarray(code.places, jnp.float32) if code.places else None
    clip = jit(lambda w, p: model.synthesize(w, p, shape, config, places))(weights, planes)
    decoded = codec.reconstruct(code).transpose(3, 0, 1, 2)
    assert 10 < decoded.mean() < 245 and decoded.std() > 2
    assert np.abs(decoded / 255 - np.asarray(clip)).max() <= 0.5 / 255 + 1e-4


YUV = settings.override(CLIP_PRESETS["c3-uvg-shared"], {"samples.format": "yuv420"})
YUV_VOLUME = settings.override(YUV, {"synthesis.per_frame": "false"})


@pytest.mark.parametrize("config", [YUV, YUV_VOLUME], ids=["3x3", "3x3x3"])
@pytest.mark.parametrize("size", [(5, 21, 36), (1, 1, 1), (2, 40, 1)], ids=str)
def test_420_clips_come_back_as_the_fit_sees_them(config, size):
    code = random_code(config, (3, *size), seed=4)
    sections = sections_of(code)
    again = codec.read(sections)
    assert again.config.samples.format == "yuv420" and again.shape == code.shape
    for plane, original in zip(again.latents, code.latents, strict=True):
        np.testing.assert_array_equal(plane, original)
    decoded = codec.reconstruct(again)
    frames, height, width = size
    chroma = (frames, -(-height // 2), -(-width // 2))
    assert [plane.shape for plane in decoded] == [size, chroma, chroma]
    for i, frame in enumerate(codec.frames(sections)):
        for plane, expected in zip(frame, decoded, strict=True):
            np.testing.assert_array_equal(plane, expected[i])
    weights = {n: jnp.asarray(a.value()) for n, a in code.parameters["synthesis"].items()}
    planes = [jnp.asarray(p, jnp.float32) * np.float32(config.latents.q_step) for p in code.latents]

    def shown(weights, planes):
        return samples.planes_shown(model.synthesize(weights, planes, code.shape, config), config)

    for plane, expected in zip(decoded, jit(shown)(weights, planes), strict=True):
        assert np.abs(plane / 255 - np.asarray(expected)).max() <= 0.5 / 255 + 1e-4


def test_what_is_lost_of_luma_and_chroma_is_weighed():
    config = settings.override(YUV, {"samples.weights": "4,1,3"})
    clip = tuple(
        np.full(shape, level, np.uint8)
        for shape, level in (((2, 3, 5), 10), ((2, 2, 3), 20), ((2, 2, 3), 40))
    )
    assert samples.shape_of(clip) == (3, 2, 3, 5)
    np.testing.assert_allclose(samples.mean_color(clip), np.array([10, 20, 40]) / 255, rtol=1e-6)
    black = samples.planes_shown(jnp.zeros((3, 2, 3, 5)), config)
    found = samples.distortion(black, samples.planes_of(clip), config)
    assert float(found) == pytest.approx((4 * 10**2 + 20**2 + 3 * 40**2) / 8 / 255**2)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0)])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        Samples("yuv420", weights)


@pytest.mark.parametrize(
    "config",
    [CONFIGS["c3-uvg-masked"], VOLUME, YUV, MOVING],
    ids=["3x3", "3x3x3", "4:2:0", "motion"],
)
def test_bands_of_rows_join_without_a_seam(config, monkeypatch):
    code = random_code(config, (3, 3, 61, 8))
    whole = codec.reconstruct(code)
    monkeypatch.setattr("overfit.methods.c3.synthesis._BAND", 7 * 8)
    for plane, expected in zip(codec.reconstruct(code), whole, strict=True):
        assert np.abs(plane.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("total", [1, 2, 30, 60, 75])
def test_every_frame_of_every_grid_is_coded_when_it_is_first_needed(total):
    shapes = CLIP_PRESETS["c3-uvg-shared"].latents.shapes(total, 9, 9)
    steps = latent_coding.steps(shapes)
    assert len(steps) == total
    for grid, (count, *_) in enumerate(shapes):
        coded = [(step[grid], t) for t, step in enumerate(steps) if grid in step]
        assert [frame for frame, _ in coded] == list(range(count))
        for frame, t in coded:
            centers = (2 * np.arange(total) + 1) * count / (2 * total) - 0.5
            uses = np.flatnonzero((centers > frame - 1 + 1e-9) | (frame == 0))
            assert t == uses[0]


@pytest.mark.parametrize("name, ahead", [("c3-uvg-masked", 0), ("3x3x3", 2)])
def test_first_frames_need_the_beginning_of_the_file_only(name, ahead):
    """Frames can be shown while the rest is still on its way."""
    code = sampled_code(CONFIGS[name], (3, 12, 24, 30))
    header, networks, latents = sections_of(code)
    whole = codec.reconstruct(code)
    cut = latents[: len(latents) // 2]
    shown = []
    with pytest.raises(UserError, match="truncated"):
        for frame in codec.frames([header, networks, cut]):
            shown.append(frame)
    # Half of the bytes hold more than a third of the frames; the last ones may be invented.
    assert len(shown) >= 4
    np.testing.assert_array_equal(np.stack(shown[: 4 - ahead]), whole[: 4 - ahead])


# -- What a configuration costs --------------------------------------------------------------------


@pytest.mark.parametrize(
    "preset, per_frame, counts",
    [  # entropy, upsampling, synthesis, total: the paper's code
        ("c3-uvg-shared", False, (2540, 80, 1798, 4418)),
        ("c3-uvg-shared", True, (2540, 80, 1474, 4094)),
        ("c3-uvg-separate", False, (284, 64, 1766, 2114)),
        ("c3-uvg-separate", True, (284, 64, 1442, 1790)),
        ("c3-uvg-masked", False, (456, 80, 1798, 2334)),
        ("c3-uvg-masked", True, (456, 80, 1474, 2010)),
    ],
)
def test_the_decoder_costs_what_the_paper_says(preset, per_frame, counts):
    config = settings.override(CLIP_PRESETS[preset], {"synthesis.per_frame": per_frame})
    result = macs((3, 32, 192, 256), config)
    # The paper's code rounds the share of every grid down.
    sizes = [entropy_sizes(config, grid) for grid in range(config.latents.num_grids)]
    products = [sum(a * b for a, b in zip(s[:-1], s[1:], strict=True)) for s in sizes]
    assert sum(n // 8**grid for grid, n in enumerate(products)) == counts[0]
    assert math.isclose(result["entropy"], sum(n / 8**grid for grid, n in enumerate(products)))
    assert (result["upsampling"], result["synthesis"]) == counts[1:3]
    assert 0 <= result["total"] - counts[3] < 3


def test_info_tells_what_was_encoded():
    about = codec.describe(sections_of(random_code(CLIP_PRESETS["c3-uvg-masked"], (3, 4, 20, 30))))
    assert (about["frames"], about["height"], about["width"]) == (4, 20, 30)
    assert about["settings"]["entropy.mask"] == 4


# -- Headers that no encoder writes ----------------------------------------------------------------


def bounded(sections):
    """Reads and shows; returns the error's message, or None."""
    tracemalloc.start()
    start = time.perf_counter()
    message = None
    try:
        codec.reconstruct(codec.read(sections))
    except UserError as error:
        message = str(error)
        assert "\n" not in message
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.perf_counter() - start < 10
    assert peak < 1e9
    return message


MASKED = sections_of(random_code(CLIP_PRESETS["c3-uvg-masked"], (3, 3, 9, 8)))


@pytest.mark.parametrize(
    "size", [(0, 9, 8), (3, 0, 8), (3, 9, 0), (2**14 + 1, 1, 1), (2**13, 2**7, 2**7)]
)
def test_sizes_beyond_the_format_are_refused(size):
    header = b"\0\0" + b"".join(map(write_varint, size)) + MASKED[0][5:]
    assert "x".join(map(str, size[::-1])) in bounded([header, *MASKED[1:]])


@pytest.mark.parametrize(
    "size", [(2**14, 32, 64), (2, 2**12, 2**12), (2**14, 1, 1), (32, 1, 2**14)]
)
def test_sizes_that_the_data_do_not_fill_end_soon(size):
    header = b"\0\0" + b"".join(map(write_varint, size)) + MASKED[0][5:]
    assert bounded([header, *MASKED[1:]])


@pytest.mark.parametrize("fill", [0, 0x5A, 0xFF])
def test_headers_of_noise_end_soon(fill):
    rng = np.random.default_rng(fill)
    for _ in range(30):
        header = bytearray(MASKED[0])
        for position in rng.integers(5, len(header), 4):
            header[position] = rng.integers(256)
        bounded([bytes(header), MASKED[1], bytes([fill]) * 500])


def test_masks_outside_their_window_are_refused():
    code = random_code(CLIP_PRESETS["c3-uvg-masked"], (3, 3, 9, 8))
    for place in (-33, 30):
        header = codec._write_header(code._replace(masks=((0, 0), (0, place), (0, 0))))
        assert "mask" in bounded([header, *MASKED[1:]])


def test_frames_outside_their_canvas_are_refused():
    code = random_code(MOVING, (3, 3, 9, 8))
    sections = sections_of(code)
    outside = code._replace(places=((0, 0), (9, 0), (8, 0)))
    assert "canvas" in bounded([codec._write_header(outside), *sections[1:]])
    large = settings.override(MOVING, {"latents.margin": "1023,1023"})
    header = codec._write_header(code._replace(config=large, shape=(3, 9, 2000, 1800)))
    assert "canvas" in bounded([header, *sections[1:]])
    with pytest.raises(UserError, match="1800x2000x9 pixels"):
        codec.check_size((9, 2000, 1800), large)
    codec.check_size((9, 2000, 1800), MOVING)


# -- Fits ------------------------------------------------------------------------------------------


def panned(frames, height, width, motion, seed=0) -> np.ndarray:
    """Noise that moves by `motion` (rows, columns) per frame: uint8 [3, T, H, W]."""
    reach = frames * max(map(abs, motion))
    rng = np.random.default_rng(seed)
    scene = rng.integers(40, 216, (height + 2 * reach, width + 2 * reach))
    offsets = [(reach - t * motion[0], reach - t * motion[1]) for t in range(frames)]
    clip = np.stack([scene[y : y + height, x : x + width] for y, x in offsets])
    return np.stack([clip, (clip + 10), 255 - clip]).astype(np.uint8)


def schedule(config, steps, stage2_steps):
    values = Schedule()._asdict() | dataclasses.asdict(config.fit)
    values |= {"steps": steps, "stage2_steps": stage2_steps}
    return Schedule(
        **{
            n: np.asarray(v, np.int32 if isinstance(v, int) else np.float32)
            for n, v in values.items()
        }
    )


def run(signals, starts, config, lmbda, steps, stage2_steps=0):
    """Fits a batch, each from its own parameters; returns the states."""
    one = schedule(config, steps, stage2_steps)
    schedules = jax.tree.map(lambda value: jnp.stack([value] * len(signals)), one)
    keys = jax.random.split(jax.random.key(1), len(signals))
    states = jit(jax.vmap(fit.initial_state))(starts, keys, schedules)
    tasks = fit.Task(None, signals, schedules, jnp.full(len(signals), lmbda, jnp.float32))
    states, tasks = fit.spread(jax.tree.map(jnp.copy, states), tasks)
    return fit.advance(states, tasks, steps + stage2_steps, C3.loss, config)


def started(init, signals, config):
    keys = jax.random.split(jax.random.key(0), len(signals))
    return jit(jax.vmap(lambda key, signal: init(key, signal, None, config)))(keys, signals)


def test_masks_follow_the_motion_and_the_fit_ends_in_a_file():
    """Two clips in one program, which move in different directions."""
    motions = ((2, -3), (-4, 1))
    clips = np.stack([panned(4, 24, 32, motion) for motion in motions])
    signals = jnp.asarray(clips, jnp.float32) / 255
    config = settings.override(
        CLIP_PRESETS["c3-uvg-masked"],
        {"latents.num_grids": 1, "entropy.mask": 2, "entropy.frame": 6, "entropy.widths": "4",
         "synthesis.widths": "8", "synthesis.residual_layers": 0, "fit.clip": 0.1},
    )  # fmt: skip
    phase = C3.first_phase(config)
    found = run(signals, started(phase.init, signals, config), config, 1e-5, 200)
    starts = jax.vmap(phase.finish)(found.params, started(C3.init, signals, config))
    for place, motion in zip(np.asarray(starts["masks"])[:, 0], motions, strict=True):
        # What is at (y, x) now was at (y, x) - motion.
        assert all(p <= -m <= p + 1 for p, m in zip(place, motion, strict=True)), (place, motion)

    states = run(signals, starts, config, 1e-4, 120, 10)
    np.testing.assert_array_equal(states.best_params["masks"], starts["masks"])
    best = jax.tree.map(lambda x: x[0], states.best_params)
    code = C3.quantize(best, None, signals[0], 1e-4, config, parameter_steps.search)
    sections = list(C3.write(code, None).values())
    decoded = np.stack(list(C3.frames(sections, None)))
    assert psnr(clips[0].transpose(1, 2, 3, 0), decoded) > 22


def test_no_first_phase_without_masks_to_learn():
    assert C3.first_phase(CLIP_PRESETS["c3-uvg-shared"]) is None
    config = settings.override(CLIP_PRESETS["c3-uvg-masked"], {"start.mask_steps": 0})
    assert C3.first_phase(config) is None
    np.testing.assert_array_equal(frame_context.centered(config), np.full((3, 2), -2))


def test_the_mean_color_is_where_a_fit_starts():
    signal = normal(0, 3, 2, 4, 4)
    for mean_color, expected_bias in ((True, signal.mean((1, 2, 3))), (False, 0)):
        config = settings.override(KODAK, {"start.mean_color": mean_color})
        start = jit(lambda key, config=config: model.init(key, signal, None, config)["synthesis"])
        np.testing.assert_allclose(start(jax.random.key(0))["b2"], expected_bias, atol=1e-6)


def test_a_fit_whose_samples_are_all_out_of_range_comes_back():
    """The first steps of Adam can take a 3x3x3 convolution there, where `clamp` has no gradient."""
    x, target = jnp.array([-0.5, 0.5, 1.5, -0.5, 1.5]), jnp.array([0.5, 0.5, 0.5, -1.0, 2.0])
    value, gradient = jax.value_and_grad(lambda x: jnp.sum((model._to_levels(x) - target) ** 2))(x)
    assert value == pytest.approx(0.25 + 0 + 0.25 + 1 + 1)
    # Descent leads back into the range, or there is no gradient.
    np.testing.assert_allclose(gradient, [-1, 0, 1, 0, 0])
