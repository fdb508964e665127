"""From checked requests to files: groups of fits in one compiled program, quantized and written."""

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
from overfit.bases import library
from overfit.bases.base import Base, Start
from overfit.bases.base import start as start_from
from overfit.coding import container
from overfit.engine import fit, parameter_steps
from overfit.engine.schedule import Schedule
from overfit.errors import UserError
from overfit.fitting import checkpoint
from overfit.fitting.run import Progress, Run, run
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import psnr

DEFAULT_PRESET = {"c3": "c3-kodak"}
STAGE2_SHARE = 10  # stage 2 has at most a tenth of stage 1's steps, as in the paper


class Target(NamedTuple):
    """What the search for lambda aims at; one of the two."""

    bpp: float | None = None  # bits per pixel of the whole file
    psnr: float | None = None  # dB, of the decoded 8-bit image


class Options(NamedTuple):
    """How to encode; the names are those of the command line."""

    method: str = "c3"
    preset: str | None = None
    lmbda: float = 1e-3
    steps: int = 1000
    seed: int = 0
    set: dict[str, Any] = {}
    target: Target | None = None
    base: str | None = None  # name, file or identity; None for none
    checkpoint: str | None = None


class Request(NamedTuple):
    """An image, uint8 [H, W, 3], [H, W, 1] or [H, W], and how to encode it."""

    image: np.ndarray
    options: Options


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


class Fit(NamedTuple):
    """A request that has been checked."""

    codec: method.Method
    preset: str
    config: Any  # with the schedule
    signal: np.ndarray  # uint8 [channels, height, width]
    options: Options
    base: Base | None = None
    base_prefix: bytes = b""  # what names it in a file


def checked(request: Request) -> Fit:
    """Raises UserError for a bad image or options."""
    codec, preset, config = configuration(request.options)
    one = Fit(codec, preset, config, as_planes(request.image), request.options)
    if request.options.base is None:
        return one
    entry = library.find(request.options.base)
    base = entry.load()
    if base.method != codec.name:
        raise UserError(f"the base '{entry.name}' is of method {base.method}, not {codec.name}")
    return one._replace(base=base, base_prefix=entry.prefix)


def architecture(config):
    """The configuration as the compiled program knows it: the schedule is data."""
    return dataclasses.replace(config, fit=type(config.fit)())


class Group(NamedTuple):
    """Fits of one shape and architecture, on their way through the program."""

    fits: list[Fit]
    progress: Callable[[Progress], None] | None = None

    @property
    def codec(self) -> method.Method:
        return self.fits[0].codec

    @property
    def architecture(self):
        return architecture(self.fits[0].config)

    @property
    def pixels(self) -> int:
        return self.fits[0].signal[0].size


def _schedule(one: Fit) -> Schedule:
    steps = one.options.steps
    values = Schedule()._asdict() | dataclasses.asdict(one.config.fit)
    values |= {"steps": steps, "stage2_steps": steps // STAGE2_SHARE}
    return Schedule(
        **{
            name: np.asarray(value, np.int32 if isinstance(value, int) else np.float32)
            for name, value in values.items()
        }
    )


@functools.lru_cache(maxsize=32)
def _initializer(init: Callable, config) -> Callable:
    def start(key, signal, schedule, base):
        key_params, key_noise = jax.random.split(key)
        return fit.initial_state(init(key_params, signal, base, config), key_noise, schedule)

    return jax.jit(jax.vmap(start, in_axes=(0, 0, 0, None)))


def start(group: Group, base: Start | None = None) -> tuple[fit.FitState, fit.Task]:
    """States and tasks of a group at step 0. Each fit gets what it would get alone.

    base: instead of that of the requests.
    """
    if base is None and group.fits[0].base is not None:
        base = start_from(group.fits[0].base)
    signals = jnp.asarray(np.stack([one.signal for one in group.fits]), jnp.float32) / 255
    schedule = jax.tree.map(lambda *v: jnp.stack(v), *[_schedule(one) for one in group.fits])
    keys = jnp.stack([jax.random.key(one.options.seed) for one in group.fits])
    # One after the other: one compiled program for batches of any size.
    initial = _initializer(group.codec.init, group.architecture)
    parts = [
        initial(
            *jax.tree.map(lambda array, i=i: array[i : i + 1], (keys, signals, schedule)),
            base,
        )
        for i in range(len(group.fits))
    ]
    states = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)
    # The state is donated, so that no two of its arrays may share a buffer.
    states = jax.tree.map(jnp.copy, states)
    lmbda = jnp.asarray([one.options.lmbda for one in group.fits], jnp.float32)
    bases = jax.tree.map(lambda array: jnp.stack([array] * len(group.fits)), base)
    return states, fit.Task(bases, signals, schedule, lmbda)


def saved(one: Fit, phase: str = "fit") -> Path | None:
    """Where the checkpoint of a phase of this fit lies; None where none is asked for."""
    if one.options.checkpoint is None:
        return None
    folder = Path(one.options.checkpoint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot use '{folder}' for checkpoints: {error.strerror}") from error
    options = one.options
    key = checkpoint.job_key(
        one.signal, one.codec.name, one.config, options.steps, options.seed, options.lmbda,
        options.target, one.base_prefix, versions(), device(), jax.local_device_count(),
    )  # fmt: skip
    return folder / f"{key}-{phase}.ckpt"


def run_group(
    group: Group,
    states: fit.FitState,
    tasks: fit.Task,
    phase: str = "fit",
    until: int | None = None,
) -> Run:
    """Takes the steps that are left, or those before step `until`; from the checkpoints, if any."""
    return run(
        states, tasks, group.codec.loss, group.architecture, group.pixels, group.progress,
        [saved(one, phase) for one in group.fits], until,
    )  # fmt: skip


# -- From a fitted state to a file -----------------------------------------------------------------


def write_files(group: Group, finished: Run) -> list[Encoded]:
    """Quantizes, writes and decodes what was fitted, one file per fit.

    Raises:
      UserError: a fit never had a finite loss.
    """
    best = jax.tree.map(np.asarray, finished.states.best_params)
    losses = np.asarray(finished.states.best_loss)
    encoded = []
    for i, one in enumerate(group.fits):
        if not np.isfinite(losses[i]) and int(finished.tasks.schedule.stage2_steps[i]) > 0:
            raise UserError(
                "the fit did not reach a finite loss; try a smaller --set fit.lr=... or another "
                "--seed"
            )
        params = jax.tree.map(lambda array, i=i: array[i], best)
        lmbda = float(finished.tasks.lmbda[i])
        loss = losses[i] if np.isfinite(losses[i]) else finished.states.loss[i]
        encoded.append(_write(one, params, lmbda, float(loss), finished))
    return encoded


def _write(one: Fit, params, lmbda: float, loss: float, finished: Run) -> Encoded:
    signal = jnp.asarray(one.signal, jnp.float32) / 255
    code = one.codec.quantize(params, one.base, signal, lmbda, one.config, parameter_steps.search)
    sections = list(one.codec.write(code, one.base).values())
    data = container.pack(one.codec.name, sections, one.base_prefix)
    decoded = decoding.decode(data)
    original, shown = one.signal.transpose(1, 2, 0), np.atleast_3d(decoded)
    about = decoding.info(data)
    about |= {
        "preset": one.preset,
        "psnr": psnr(original, shown),
        "ms_ssim": ms_ssim(original, shown),
        "lmbda": lmbda,
        "qp": None,
        "steps": one.options.steps,
        "seed": one.options.seed,
        "seconds": finished.seconds,
        "seconds_compile": finished.seconds_compile,
        "steps_per_second": finished.steps / max(finished.seconds, 1e-9),
        "loss": loss,
        "device": device(),
        "versions": versions(),
    }
    return Encoded(data, about, decoded)


# -- What a result says of its origin --------------------------------------------------------------


def device() -> str:
    """The kind of device that fits run on."""
    kind = jax.local_devices()[0].device_kind
    return platform.processor() or platform.machine() if kind == "cpu" else kind


@functools.cache
def versions() -> dict[str, str]:
    names = ("overfit", "jax", "jaxlib", "optax", "numpy", "constriction")
    return {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in names}
