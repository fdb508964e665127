"""From signals to .ovf bytes: fits, quantizes and writes them, and decodes them again."""

import dataclasses
import functools
import importlib.metadata
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overfit import decoding, method, settings
from overfit.coding import container
from overfit.engine import fit, parameter_steps
from overfit.engine.schedule import Schedule
from overfit.errors import UserError
from overfit.jobs import checkpoint
from overfit.jobs.run import Progress, Run, run
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import psnr

DEFAULT_PRESET = {"c3": "c3-kodak"}
STAGE2_SHARE = 10  # stage 2 has at most a tenth of stage 1's steps, as in the paper


class Target(NamedTuple):
    """What the search for lambda aims at; one of the two."""

    bpp: float | None = None  # bits per pixel of the whole file
    psnr: float | None = None  # dB, of the decoded 8-bit image


def checked_target(bpp: float | None, psnr: float | None) -> Target:
    """Raises UserError unless exactly one is given and it can be aimed at."""
    if (bpp is None) == (psnr is None):
        raise UserError("give one of --target-bpp and --target-psnr")
    if bpp is not None and not 0 < bpp <= 24:
        raise UserError(f"--target-bpp must be in (0, 24], not {bpp}")
    if psnr is not None and not 5 <= psnr <= 70:
        raise UserError(f"--target-psnr must be in 5..70 dB, not {psnr}")
    return Target(bpp, psnr)


class Options(NamedTuple):
    """How to encode; the names are those of the command line."""

    method: str = "c3"
    preset: str | None = None
    lmbda: float = 1e-3
    steps: int = 1000
    seed: int = 0
    set: dict[str, Any] = {}
    target: Target | None = None
    checkpoint: str | None = None


class Encoded(NamedTuple):
    """A file and what is known about it; the keys of `about` are those of CONTRACT.md."""

    data: bytes
    about: dict[str, Any]
    decoded: np.ndarray  # what the file decodes to


def configuration(options: Options):
    """(method, preset name, config) of the options. Raises UserError where they make no sense."""
    codec = method.load(options.method)
    preset = options.preset or DEFAULT_PRESET[options.method]
    if preset not in codec.presets:
        raise UserError(
            f"method {codec.name} has no preset '{preset}'; "
            f"choose one of {', '.join(codec.presets)}"
        )
    if options.steps < 1:
        raise UserError(f"--steps must be at least 1, not {options.steps}")
    if not 0 < options.lmbda < 1e3:
        raise UserError(f"lambda must be positive and below 1000, not {options.lmbda}")
    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed must be in 0..2^32-1, not {options.seed}")
    return codec, preset, settings.override(codec.presets[preset], options.set)


def as_planes(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3], [H, W, 1] or [H, W] -> [channels, H, W]; UserError for anything else."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise UserError(f"an image must be uint8 (0 to 255), not {image.dtype}")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 4:
        raise UserError("clips [T, H, W, 3] cannot be encoded yet: encode their frames as images")
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise UserError(f"an image must be [H, W, 3] or [H, W], not of shape {image.shape}")
    return image.transpose(2, 0, 1)


def encode(
    images: list[np.ndarray],
    options: Options,
    progress: Callable[[Progress], None] | None = None,
) -> list[Encoded]:
    """Encodes images; those of equal shape are fitted together, in one compiled program.

    images: uint8 [H, W, 3] or [H, W]. progress is called about once a second.
    Raises UserError for bad images or options.
    """
    signals = [as_planes(image) for image in images]
    groups: dict[tuple, list[int]] = {}
    for i, signal in enumerate(signals):
        groups.setdefault(signal.shape, []).append(i)
    results: dict[int, Encoded] = {}
    for members in groups.values():
        # A search adapts lambda to each image, so that its runs have nothing in common.
        batches = [members] if options.target is None else [[i] for i in members]
        for batch in batches:
            encoded = _encode_group([signals[i] for i in batch], options, progress)
            results |= dict(zip(batch, encoded, strict=True))
    return [results[i] for i in range(len(images))]


class Group(NamedTuple):
    """Images of one shape under one configuration, on their way through fits."""

    codec: method.Method
    config: Any
    signals: list[np.ndarray]  # uint8 [channels, height, width]
    options: Options
    progress: Callable[[Progress], None] | None

    @property
    def pixels(self) -> int:
        return self.signals[0][0].size


def _schedule(config, steps: int, instances: int) -> Schedule:
    values = Schedule()._asdict() | dataclasses.asdict(config.fit)
    values |= {
        "steps": steps,
        "stage2_steps": steps // STAGE2_SHARE,
    }
    return Schedule(
        **{
            name: jnp.full(
                (instances,), value, jnp.int32 if isinstance(value, int) else jnp.float32
            )
            for name, value in values.items()
        }
    )


@functools.lru_cache(maxsize=32)
def _initializer(init: Callable, config) -> Callable:
    def start(key, signal, schedule):
        key_params, key_noise = jax.random.split(key)
        return fit.initial_state(init(key_params, signal, None, config), key_noise, schedule)

    return jax.jit(jax.vmap(start))


def start(group: Group) -> tuple[fit.FitState, fit.Task]:
    """States and tasks of a group at step 0. Each image gets what it would get alone."""
    instances = len(group.signals)
    signals = jnp.asarray(np.stack(group.signals), jnp.float32) / 255
    schedule = _schedule(group.config, group.options.steps, instances)
    keys = jnp.stack([jax.random.key(group.options.seed)] * instances)
    states = _initializer(group.codec.init, group.config)(keys, signals, schedule)
    # The state is donated, so that no two of its arrays may share a buffer.
    states = jax.tree.map(jnp.copy, states)
    lmbda = jnp.full((instances,), group.options.lmbda, jnp.float32)
    return states, fit.Task(None, signals, schedule, lmbda)


def _saved(group: Group, phase: str) -> Path | None:
    """Where the checkpoint of a phase of this job lies."""
    options = group.options
    if options.checkpoint is None:
        return None
    folder = Path(options.checkpoint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot use '{folder}' for checkpoints: {error.strerror}") from error
    key = checkpoint.job_key(
        np.stack(group.signals), group.codec.name, group.config, options.steps, options.seed,
        options.lmbda, options.target, versions(), device(), jax.local_device_count(),
    )  # fmt: skip
    return folder / f"{key}-{phase}.ckpt"


def _encode_group(signals, options: Options, progress) -> list[Encoded]:
    codec, preset, config = configuration(options)
    group = Group(codec, config, signals, options, progress)
    states, tasks = start(group)
    finished = run(states, tasks, codec.loss, config, group.pixels, progress, _saved(group, "fit"))
    encoded = _write_all(group, finished)
    if options.target is not None:
        finished, encoded = _search_lambda(group, finished, encoded)
    for result in encoded:
        result.about["preset"] = preset
    first = _saved(group, "fit")
    if first is not None:
        for path in first.parent.glob(first.name.removesuffix("fit.ckpt") + "*"):
            path.unlink(missing_ok=True)
    return encoded


# -- From a fitted state to a file -----------------------------------------------------------------


def _write_all(group: Group, finished: Run) -> list[Encoded]:
    best = jax.tree.map(np.asarray, finished.states.best_params)
    losses = np.asarray(finished.states.best_loss)
    if not np.isfinite(losses).all() and int(finished.tasks.schedule.stage2_steps[0]) > 0:
        raise UserError(
            "the fit did not reach a finite loss; try a smaller --set fit.lr=... or another --seed"
        )
    encoded = []
    for i, signal in enumerate(group.signals):
        params = jax.tree.map(lambda array, i=i: array[i], best)
        lmbda = float(finished.tasks.lmbda[i])
        loss = losses[i] if np.isfinite(losses[i]) else finished.states.loss[i]
        encoded.append(_write_one(group, signal, params, lmbda, float(loss), finished))
    return encoded


def _write_one(group: Group, signal, params, lmbda: float, loss: float, finished: Run) -> Encoded:
    codec, options = group.codec, group.options
    code = codec.quantize(
        params, None, jnp.asarray(signal, jnp.float32) / 255, lmbda, group.config,
        parameter_steps.search,
    )  # fmt: skip
    sections = list(codec.write(code, None).values())
    data = container.pack(codec.name, sections)
    decoded = decoding.decode(data)
    original, shown = signal.transpose(1, 2, 0), np.atleast_3d(decoded)
    about = decoding.info(data)
    about |= {
        "psnr": psnr(original, shown),
        "ms_ssim": ms_ssim(original, shown),
        "base": None,
        "lmbda": lmbda,
        "qp": None,
        "steps": options.steps,
        "seed": options.seed,
        "seconds": finished.seconds,
        "seconds_compile": finished.seconds_compile,
        "steps_per_second": finished.steps / max(finished.seconds, 1e-9),
        "loss": loss,
        "device": device(),
        "versions": versions(),
    }
    return Encoded(data, about, decoded)


# -- Search for lambda -----------------------------------------------------------------------------

_REWIND = 0.75  # a small correction takes the last quarter of stage 1 again, a large one more
_ROUNDS = 6  # corrections at most
_TOLERANCE = {"bpp": 0.01, "psnr": 0.05}  # relative, and in dB


def _search_lambda(group: Group, finished: Run, encoded: list[Encoded]):
    """Corrects lambda until the file meets the target, each time from the fit so far.

    Rate and distortion are close to power laws of lambda: the first steps take the slopes that C3's
    published curves have, until the goal is bracketed.
    """
    target, (result,) = group.options.target, encoded
    assert target is not None
    kind = "bpp" if target.bpp is not None else "psnr"
    goal = target.bpp if target.bpp is not None else target.psnr
    assert goal is not None

    def measure(about) -> float:
        return np.log(about["bpp"]) if kind == "bpp" else about["psnr"]

    wanted = np.log(goal) if kind == "bpp" else goal
    tolerance = _TOLERANCE[kind]
    slope = -0.5 if kind == "bpp" else -2.6  # per unit of log lambda
    best, history = (finished, result), [(np.log(result.about["lmbda"]), measure(result.about))]
    for round_number in range(_ROUNDS):
        at, value = history[-1]
        if abs(value - wanted) <= tolerance:
            break
        above = [point for point in history if point[1] > wanted]
        below = [point for point in history if point[1] <= wanted]
        if above and below:
            # Between the nearest on either side, which is safe where a small file is not smooth.
            (x0, y0), (x1, y1) = min(above, key=lambda p: p[1]), max(below, key=lambda p: p[1])
            log_lmbda = x0 + (x1 - x0) * float(np.clip((wanted - y0) / (y1 - y0), 0.2, 0.8))
        else:
            log_lmbda = at + (wanted - value) / slope
        log_lmbda = float(np.clip(log_lmbda, at - 1.5, at + 1.5))
        log_lmbda = float(np.clip(log_lmbda, np.log(1e-6), np.log(10.0)))
        step = log_lmbda - float(np.log(best[1].about["lmbda"]))
        lmbda = jnp.full((1,), np.exp(log_lmbda), jnp.float32)
        tasks = finished.tasks._replace(lmbda=lmbda)
        fraction = max(0.2, _REWIND - 0.35 * abs(step))
        # From the closest fit so far: one that lambda has emptied of latents would stay empty. A
        # copy, because the program takes over the buffers of its states.
        states = fit.rewind(jax.tree.map(jnp.copy, best[0].states), tasks, fraction)
        again = run(
            states, tasks, group.codec.loss, group.config, group.pixels, group.progress,
            _saved(group, f"search{round_number}"),
        )  # fmt: skip
        finished = again._replace(
            seconds=finished.seconds + again.seconds,
            seconds_compile=finished.seconds_compile + again.seconds_compile,
            steps=finished.steps + again.steps,
        )
        (result,) = _write_all(group, finished)
        history.append((log_lmbda, measure(result.about)))
        if abs(history[-1][1] - wanted) < abs(measure(best[1].about) - wanted):
            best = finished, result
    return best[0], [best[1]]


# -- What a result says of its origin --------------------------------------------------------------


def device() -> str:
    """The kind of device that fits run on."""
    kind = jax.local_devices()[0].device_kind
    return platform.processor() or platform.machine() if kind == "cpu" else kind


@functools.cache
def versions() -> dict[str, str]:
    names = ("overfit", "jax", "jaxlib", "optax", "numpy", "constriction")
    return {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in names}
