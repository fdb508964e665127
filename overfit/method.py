"""What a method is: pure functions on one instance, in one bundle; and the registry by name.

The engine needs `init` and `loss` to fit anything; encoding needs `quantize` and `write`; decoding
needs `read` and `reconstruct` only, which must not import JAX. None of them sees a batch axis.
"""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from overfit.errors import UserError

METHODS = {
    "c3": "overfit.methods.c3",
    "upsampler": "overfit.methods.upsampler",
    "stat-ssf": "overfit.methods.stat_ssf",
    "reference": "overfit.methods.reference",
}  # name -> module that defines METHOD
# Name -> number in the file header; a number is never used again.
METHOD_IDS = {"c3": 1, "upsampler": 2, "stat-ssf": 3, "reference": 4}


class Aux(NamedTuple):
    """What `loss` reports beside the loss, per instance."""

    distortion: Any  # shape=(), float32; mean squared error, signal in [0, 1]
    bits: Any  # shape=(), float32; rate of the latents, in bits


class Anneal(NamedTuple):
    """How latents are quantized at a step of the fit; set by the engine's schedule."""

    temperature: Any  # shape=(), float32; of the soft rounding
    noise: Any  # shape=(), float32; shape or width of the noise
    hard: Any  # shape=(), bool; True in stage 2, where latents are rounded


class Phase(NamedTuple):
    """A short fit before the real one, by the same `loss`, that finds where that should start."""

    steps: int  # of stage 1; it has no stage 2
    init: Callable  # like `Method.init`
    finish: Callable  # finish(params of this fit, params of `Method.init`) -> where to start


class Encoder(NamedTuple):
    """How latents start in a fit from a base, learned from the fits of a training."""

    moments: Callable  # moments(params, signal, config) -> arrays that are added up over fits
    solved: Callable  # solved(sums) -> {name: array}, which `init` finds in `bases.base.Start`


class Plane(NamedTuple):
    """Some of the symbols in a file, as a picture."""

    name: str
    values: Any  # int32 [rows, columns]
    bits: Any  # float64 [rows, columns]; what each symbol takes in the file


class Inspection(NamedTuple):
    """Where the bits of a file's latents go."""

    planes: list[Plane]
    bit_map: Any  # float64 [height, width]; bits per pixel, of all planes together


class Groups(NamedTuple):
    """How a method fits a 4:2:0 clip: in groups of frames, each a signal of its own, around
    something that they have in common.

    prepare(clip, qp, config, progress) -> common; progress(frames that are done).
    save(common) -> bytes for a checkpoint; restore(bytes, config) -> that common, or None where
        `prepare` would choose another kind on this machine.
    signals(clip, common, config) -> iterator of the groups' signals in order: tuples of arrays, of
        which the first is [frames, ..].
    assemble(clip's shape, common, the groups' codes, config) -> code, as `write` takes it.
    lmbda(qp) -> the weight of the rate that goes with a quantizer; qp(lmbda): its inverse, whole.
    steps(config) -> how many a fit takes if nobody says otherwise.
    chained(config) -> whether a group's base is what the group before it came to.
    after(code of a group) -> `bases.base.Base`: that base.
    """

    prepare: Callable
    save: Callable
    restore: Callable
    signals: Callable
    assemble: Callable
    lmbda: Callable
    qp: Callable
    steps: Callable
    chained: Callable
    after: Callable


class Learned(NamedTuple):
    """How bases are learned where params are not what files carry.

    of_fit(params, signal, config) -> {network: arrays} that may be averaged over fits. `init` takes
        them, too, as the networks of its base.
    of_base(`bases.base.Start` of such networks, config) -> the same as a base and files have it.
    """

    of_fit: Callable
    of_base: Callable


class Pretraining(NamedTuple):
    """How networks that all signals share are learned: what a base of a whole codec is made of.

    init(rng, config) -> networks: {network: {array: float32}}, NumPy arrays.
    loss(networks, crop, key, progress, config) -> (loss, Aux) of one crop, float32 [3, size, size]
        in 0..1, or [frames, 3, size, size]; progress: the share of the training that is done.
    crops(step, config) -> (frames, size) of the crops at a step; 0 frames: they are of images.
    lr(step, config) -> the learning rate; the step may be traced.
    exponent(network) -> the finest steps, 2^-exponent, that the arrays of a network may have.
    freeze(networks, config) -> networks with the arrays that follow from the others, integers that
        a decoder must not compute itself.
    code(signal, base, lmbda, config) -> code of a signal as the base has it, without any fit: NumPy
        arrays in, and no JAX; of a clip (`windows`) an RGB `io.clip.Clip`.
    """

    init: Callable
    loss: Callable
    crops: Callable
    lr: Callable
    exponent: Callable
    freeze: Callable
    code: Callable


class Method(NamedTuple):
    """A codec that is fitted to each signal.

    sections: names of a file's sections, in file order; "networks" and "latents" are payloads.
    init(key, signal, base, config) -> params: a dict of pytrees of float32 arrays, where "latents"
        are those whose bits the loss counts. base here and in `loss`: `bases.base.Start` or None.
    loss(params, base, signal, key, anneal, lmbda, config) -> (loss, Aux), for both stages.
    quantize(params, base, signal, lmbda, config, search) -> code: integers only, what the file
        carries; search is `engine.parameter_steps.search`.
    write(code, base) -> {section name: bytes}; read(list of sections, base) -> code: inverses.
        base here and below: `bases.base.Base` or None.
    reconstruct(code, base) -> uint8 signal as the decoder shows it; of a 4:2:0 clip y, u, v.
    macs(shape, config) -> multiply-accumulates of the decoder per pixel, by component.
    describe(sections, base) -> {name: value}: what `overfit info` says about a file.
    presets: name -> config.
    inspect(code, base) -> Inspection: where the bits go; None where a method cannot tell.
    first_phase(config) -> Phase, or None where a config needs none; None for a method without any.
    encoder: Encoder, or None for a method whose latents start as they do without a base.
    frames(sections, base) -> iterator of the uint8 frames of a clip, each as soon as the symbols
        that it needs are decoded; None for a method without clips. Of 4:2:0 clips: y, u, v of each.
    specialized(signal, config) -> the configuration that fits a patch of a clip: for settings that
        follow from its content. None where there are no such.
    windows: windows(`io.clip.Clip` of RGB, seed, config) -> what one fit sees of a whole clip:
        arrays whose size does not grow with it; `quantize` gets the clip. None for other methods.
        Its params have no "latents", either, and its `frames` are tuples of one array each.
    groups: how it fits clips in groups of frames, and these only; None for a method that fits
        images and patches of clips. Its params have no "latents", so that it has no stage 2, and
        `quantize` gives a part of the code that `write` takes.
    learned: how its bases are learned; None where their arrays are the params.
    variants: {name: settings} that `pretrain --variant` knows.
    pretraining: of a codec whose base is all of its networks. Without a base it does nothing, and
        the base's settings are its configuration; None for methods that can start from nothing.
    """

    name: str
    sections: tuple[str, ...]
    init: Callable
    loss: Callable
    quantize: Callable
    write: Callable
    read: Callable
    reconstruct: Callable
    macs: Callable
    describe: Callable
    presets: Mapping[str, Any]
    inspect: Callable | None = None
    first_phase: Callable | None = None
    frames: Callable | None = None
    specialized: Callable | None = None
    windows: Callable | None = None
    groups: Groups | None = None
    encoder: Encoder | None = None
    learned: Learned | None = None
    pretraining: Pretraining | None = None
    variants: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

    def __reduce__(self):
        """Other processes load it by its name: functions that import late cannot be sent."""
        return load, (self.name,)


def has_latents(codec: Method) -> bool:
    """Whether a fit's params have latents, which a second stage rounds."""
    return codec.groups is None and codec.windows is None


def load(name: str) -> Method:
    """The method of that name; raises UserError for an unknown one."""
    if name not in METHODS:
        raise UserError(f"there is no method '{name}'; choose one of {', '.join(METHODS)}")
    return importlib.import_module(METHODS[name]).METHOD


def deferred(module: str, function: str) -> Callable:
    """A function that imports its module when first called, so that decoding imports no JAX."""

    def call(*args, **kwargs):
        return getattr(importlib.import_module(module), function)(*args, **kwargs)

    call.__name__ = function
    return call
