"""From checked requests to coded sections: groups of fits in one compiled program."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from overfit import method, settings
from overfit.bases import library
from overfit.bases.base import Base, Start
from overfit.bases.base import start as start_from
from overfit.engine import fit, parameter_steps
from overfit.engine.schedule import Schedule
from overfit.errors import UserError
from overfit.fitting import checkpoint
from overfit.fitting.origin import device, versions
from overfit.fitting.run import Progress, Run, run
from overfit.io.clip import Clip
from overfit.method import Phase

DEFAULT_PRESET = {
    "c3": "c3-kodak",
    "upsampler": "klopp21",
    "stat-ssf": "stat-ssf-small",
    "reference": "reference-small",
}
DEFAULT_STEPS = 1000
FEWER_STEPS = {"fast": 500}  # preset -> steps instead of these
AUTO_BASE, NO_BASE = "auto", "none"
STAGE2_SHARE = 10  # stage 2 has at most a tenth of stage 1's steps, as in the paper


class Target(NamedTuple):
    """What the search for lambda aims at; one of the two."""

    bpp: float | None = None  # bits per pixel of the whole file
    psnr: float | None = None  # dB, of the decoded 8-bit image; of a 4:2:0 clip weighted 6:1:1


class Options(NamedTuple):
    """How to encode; the names are those of the command line."""

    method: str = "c3"
    preset: str | None = None
    lmbda: float = 1e-3
    steps: int = DEFAULT_STEPS
    seed: int = 0
    set: dict[str, Any] = {}
    target: Target | None = None
    # What to start from: names, files or identities of bases with commas between, of which the best
    # is taken; "auto", the shipped one for these networks, if any; None or "none".
    base: str | None = None
    patch: tuple[int, int, int] | None = None  # frames, rows, columns; None: by the paper's rule
    checkpoint: str | None = None
    qp: int | None = None  # of a base codec; None: that which goes with lmbda


class Request(NamedTuple):
    """An image, uint8 [H, W, 3], [H, W, 1] or [H, W], or a clip, and how to encode it."""

    signal: np.ndarray | Clip
    options: Options


def steps_for(
    asked: int | None,
    name: str,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> int:
    """Of stage 1: what was asked for, or what the method of that name takes with a preset.

    changes: of the preset's settings. Raises UserError where they make no sense.
    """
    if asked is not None:
        return asked
    groups = method.load(name).groups
    if groups is None:
        return FEWER_STEPS.get(preset or "", DEFAULT_STEPS)
    return groups.steps(configuration(Options(name, preset, set=dict(changes or {})))[2])


def configuration(options: Options, defaults: Mapping[str, str] = DEFAULT_PRESET):
    """(method, preset name, config) of the options. Raises UserError where they make no sense.

    defaults: {method: preset} where the options name none.
    """
    codec = method.load(options.method)
    preset = options.preset or defaults.get(options.method)
    if preset is None:
        raise UserError(f"method {codec.name} cannot encode clips")
    if preset not in codec.presets:
        raise UserError(
            f"method {codec.name} has no preset '{preset}'; "
            f"choose one of {', '.join(codec.presets)}"
        )
    least = 1 if codec.pretraining is None else 0
    if options.steps < least:
        raise UserError(f"--steps must be at least {least}, not {options.steps}")
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
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise UserError(f"an image must be [H, W, 3] or [H, W], not of shape {image.shape}")
    return image.transpose(2, 0, 1)


class Fit(NamedTuple):
    """A request that has been checked."""

    codec: method.Method
    preset: str
    config: Any  # with the schedule
    # uint8 [channels, (frames,) height, width], y, u, v of a 4:2:0 clip, or a group of frames
    signal: Any
    options: Options
    pixels: int  # of a clip in all frames
    candidates: tuple[library.Entry, ...] = ()  # bases to choose from; one, or none: see choice.py
    base: Base | None = None  # the one
    base_prefix: bytes = b""  # what names it in a file


def checked(request: Request) -> Fit:
    """The fit of an image. Raises UserError for a bad image or options."""
    codec, preset, config = configuration(request.options)
    if isinstance(request.signal, Clip):
        raise UserError("this is for images; a clip is several fits")
    if not method.has_latents(codec):
        raise UserError(f"method {codec.name} is for clips, and this is an image")
    planes = as_planes(request.signal)
    # Bases are learned from color images.
    candidates = tuple(candidates_for(request.options, known=len(planes) == 3))
    if codec.pretraining is not None and len(candidates) != 1:
        raise UserError(
            f"method {codec.name} needs one base: give it with --base (overfit bases list tells "
            "what is here, overfit pretrain makes one)"
        )
    one = Fit(codec, preset, config, planes, request.options, planes[0].size, candidates)
    return started(one, candidates[0]) if len(candidates) == 1 else one


def candidates_for(
    options: Options, defaults: Mapping[str, str] = DEFAULT_PRESET, known: bool = True
) -> list[library.Entry]:
    """The bases that the options name.

    defaults: as for `configuration`; known: whether there are shipped ones for such signals.

    Raises:
      UserError: one is not here.
    """
    if options.base in (None, NO_BASE):
        return []
    if options.base == AUTO_BASE:
        entry = shipped_base(options, defaults) if known else None
        return [] if entry is None else [entry]
    return [library.kept(name) for name in filter(None, options.base.split(","))]


def shipped_base(
    options: Options, defaults: Mapping[str, str] = DEFAULT_PRESET
) -> library.Entry | None:
    """The one that "auto" stands for where a signal has colors, if there is any."""
    codec, _, config = configuration(options, defaults)
    return library.suited(codec.name, settings.paths(config), options.lmbda)


def loaded(entry: library.Entry, codec: method.Method, config) -> Base:
    """Its base; UserError for one that is damaged, of another method or of other networks."""
    base = entry.load()
    if base.method != codec.name:
        raise UserError(f"the base '{entry.name}' is of method {base.method}, not {codec.name}")
    if codec.pretraining is not None:  # its settings are the configuration
        return base
    others = library.differing(base, settings.paths(config))
    if others:
        raise UserError(
            f"the base '{entry.name}' has other networks than this: {others[0]} is "
            f"{base.settings[others[0]]} there"
        )
    return base


def started(one: Fit, entry: library.Entry) -> Fit:
    """The fit from that base; raises UserError for one that is damaged or of other networks."""
    base = loaded(entry, one.codec, one.config)
    if one.codec.pretraining is not None:
        config = _configured(one.codec.presets[one.preset], base, one.options.set)
        return one._replace(config=config, base=base, base_prefix=entry.prefix)
    signal = jax.eval_shape(lambda: traced(one.signal))
    init = _init(one.codec.init, architecture(one.config))
    jax.eval_shape(init, jax.random.key(0), signal, start_from(base))
    return one._replace(base=base, base_prefix=entry.prefix)


@functools.lru_cache(maxsize=32)
def _init(init: Callable, config) -> Callable:
    """One function per configuration, which is traced once for many fits."""
    return jax.jit(functools.partial(init, config=config))


def _configured(config, base: Base, assignments: dict[str, Any]):
    """The configuration of a base that is a whole codec, with what is left to choose."""
    try:
        fixed = settings.override(config, base.settings)
    except UserError as error:
        raise UserError(f"the base is damaged or of another version: {error}") from error
    config = settings.override(fixed, assignments)
    before, after = settings.paths(fixed), settings.paths(config)
    for path in base.settings:
        if before[path] != after[path]:
            raise UserError(
                f"setting '{path}' cannot be changed: the base was trained with {before[path]}"
            )
    return config


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
        """Of one of them; of a clip in all frames."""
        return self.fits[0].pixels


def traced(signal):
    """A fit's signal as its method sees it: float32 in 0..1; several arrays as they are."""
    if isinstance(signal, np.ndarray):
        return jnp.asarray(signal, jnp.float32) / 255
    return jax.tree.map(jnp.asarray, signal)


def signal_shape(signal) -> tuple:
    """What fits must share to be fitted together."""
    return tuple(leaf.shape for leaf in jax.tree.leaves(signal))


def _schedule(one: Fit) -> Schedule:
    steps, config = one.options.steps, one.config
    if one.base is not None and one.codec.groups is None:  # theirs says when frames are there
        # The schedule that the base was learned for, unless the user knows better.
        learned = {p: value for p, value in one.base.settings.items() if p.startswith("fit.")}
        config = settings.override(config, learned | one.options.set)
    values = Schedule()._asdict() | dataclasses.asdict(config.fit)
    # Without latents there is nothing to be rounded in a second stage.
    share = steps // STAGE2_SHARE if method.has_latents(one.codec) else 0
    values |= {"steps": steps, "stage2_steps": share}
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

    return jax.jit(jax.vmap(start))


def _initial(group: Group, init: Callable, tasks: fit.Task) -> fit.FitState:
    keys = jnp.stack([jax.random.key(one.options.seed) for one in group.fits])
    # One after the other: one compiled program for batches of any size.
    program = _initializer(init, group.architecture)
    inputs = (keys, tasks.signal, tasks.schedule, tasks.base)
    parts = [
        program(*jax.tree.map(lambda array, i=i: array[i : i + 1], inputs))
        for i in range(len(group.fits))
    ]
    # By NumPy, which compiles nothing. As copies: the state is donated, so that no two of its
    # arrays may share a buffer.
    return jax.tree.map(lambda *arrays: jnp.array(np.concatenate(arrays)), *parts)


def _stacked(*arrays) -> jax.Array:
    return jnp.asarray(np.stack(arrays))


def start(group: Group, base: Start | None = None) -> tuple[fit.FitState, fit.Task]:
    """States and tasks of a group at step 0, after the first phase of a method that has one.

    Each fit gets what it would get alone. base: instead of those of the requests, of which all have
    one, or none has.
    """
    each = [one.base and start_from(one.base) if base is None else base for one in group.fits]
    bases = jax.tree.map(_stacked, *each) if each[0] else None
    signals = traced(jax.tree.map(lambda *parts: np.stack(parts), *[f.signal for f in group.fits]))
    schedule = jax.tree.map(_stacked, *[_schedule(one) for one in group.fits])
    lmbda = jnp.asarray([one.options.lmbda for one in group.fits], jnp.float32)
    tasks = fit.Task(bases, signals, schedule, lmbda)
    states = _initial(group, group.codec.init, tasks)
    found = first_phase(group, tasks)
    if found is not None:
        _, finish = _first_phase(group.codec.first_phase, group.architecture)
        # Copies, because the state is donated and no two of its arrays may share a buffer.
        states = jax.tree.map(jnp.copy, finish(found.states.params, states))
    return states, tasks


def first_phase(group: Group, tasks: fit.Task) -> Run | None:
    """Runs the first phase of a method that has one; None for the others."""
    phase, _ = _first_phase(group.codec.first_phase, group.architecture)
    if phase is None:
        return None
    steps = jnp.full_like(tasks.schedule.steps, phase.steps)
    short = tasks.schedule._replace(steps=steps, stage2_steps=jnp.zeros_like(steps))
    # It has networks of its own, which no base knows.
    tasks = tasks._replace(base=None, schedule=short)
    return run_group(group, _initial(group, phase.init, tasks), tasks, "first")


@functools.lru_cache(maxsize=32)
def _first_phase(first_phase: Callable | None, config) -> tuple[Phase | None, Callable]:
    """The phase and what makes the start of the real fit of its end: (params, states) -> states."""
    phase = first_phase(config) if first_phase is not None else None
    if phase is None:
        return None, lambda found, states: states

    def finish(found, states):
        params = jax.vmap(phase.finish)(found, states.params)
        return states._replace(params=params, best_params=params)

    return phase, jax.jit(finish)


def saved(one: Fit, phase: str = "fit") -> Path | None:
    """Where the checkpoint of a phase of this fit lies; None where none is asked for."""
    if one.options.checkpoint is None:
        return None
    folder = checkpoint.made(one.options.checkpoint)
    options = one.options
    prefixes = b"".join(entry.prefix for entry in one.candidates)
    key = checkpoint.job_key(
        *jax.tree.leaves(one.signal), one.codec.name, one.config, options.steps, options.seed,
        options.lmbda, options.target, prefixes or one.base_prefix, versions(), device(),
        jax.local_device_count(),
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


# -- From a fitted state to the sections of a file -------------------------------------------------


class Fitted(NamedTuple):
    """What came of a fit."""

    coded: Any  # the sections of a file; of a group of frames its part of a code
    lmbda: float
    loss: float
    seconds: float  # of the whole group, without compilation, like the two below
    seconds_compile: float
    steps: int


def unfitted(one: Fit) -> Fitted:
    """The file of a base as it is: what no step of a fit has touched."""
    assert one.codec.pretraining is not None
    begin = time.perf_counter()
    signal = np.asarray(one.signal, np.float32) / 255
    code = one.codec.pretraining.code(signal, one.base, one.options.lmbda, one.config)
    sections = one.codec.write(code, one.base)
    seconds = time.perf_counter() - begin
    shown = np.atleast_3d(one.codec.reconstruct(code, one.base)).transpose(2, 0, 1)
    distortion = float(np.mean(np.square(shown / 255 - signal)))
    bits = 8 * len(sections["latents"])
    loss = distortion + one.options.lmbda * bits / signal[0].size
    return Fitted(list(sections.values()), one.options.lmbda, loss, seconds, 0.0, 0)


class Ended(NamedTuple):
    """A fit that has taken its steps, on the host; any process can make its file."""

    fit: Fit
    params: Any  # the best; None where no step was asked for
    lmbda: float
    loss: float
    seconds: float  # as in `Fitted`, likewise:
    seconds_compile: float
    steps: int


def ended(group: Group, finished: Run) -> list[Ended]:
    """What a run has come to, fit by fit.

    Raises:
      UserError: a fit never had a finite loss.
    """
    states, tasks = finished.states, finished.tasks
    best = jax.tree.map(np.asarray, states.best_params)
    best_loss, *last = map(
        np.asarray, (states.best_loss, states.loss, states.distortion, states.bits)
    )
    lmbdas, stage2_steps = np.asarray(tasks.lmbda), np.asarray(tasks.schedule.stage2_steps)
    done = []
    for i, one in enumerate(group.fits):
        loss, distortion, bits = (float(values[i]) for values in last)
        if np.isfinite(best_loss[i]):
            loss = float(best_loss[i])
        elif stage2_steps[i] > 0:
            raise UserError(
                "the fit did not reach a finite loss; try a smaller --set fit.lr=... or another "
                "--seed"
            )
        params = jax.tree.map(lambda array, i=i: array[i], best)
        lmbda = float(lmbdas[i])
        if one.base is not None and one.codec.groups is None:
            # What is reported has no rate of the networks, with a base or without.
            loss = distortion + lmbda * bits / one.pixels
        times = finished.seconds, finished.seconds_compile, finished.steps
        done.append(Ended(one, params, lmbda, loss, *times))
    return done


def coded(result: Ended) -> Fitted:
    """Quantizes and codes what was fitted, on the device of this process."""
    one = result.fit
    if result.params is None:
        return unfitted(one)
    signal, search = traced(one.signal), parameter_steps.search
    code = one.codec.quantize(result.params, one.base, signal, result.lmbda, one.config, search)
    whole = one.codec.groups is None
    part = list(one.codec.write(code, one.base).values()) if whole else code
    return Fitted(part, *result[2:])


def fitted(group: Group, finished: Run) -> list[Fitted]:
    """Both at once. Raises UserError as `ended`."""
    return [coded(result) for result in ended(group, finished)]
