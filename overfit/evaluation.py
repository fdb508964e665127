"""Which jobs compare codecs over a data set."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from overfit import method
from overfit.codecs import codec as codecs
from overfit.errors import UserError
from overfit.io.datasets import Instance
from overfit.io.patches import Size
from overfit.jobs.job import Job, fit_label, with_base
from overfit.jobs.records import slug


class Plan(NamedTuple):
    """What is run on every signal; the names are those of the command line."""

    methods: tuple[str, ...]  # presets of overfit's methods, and classical codecs
    lmbdas: tuple[float, ...] = (1e-3,)  # for the former
    ladders: dict[str, tuple[float, ...]] = {}  # for the latter; default: the codec's own
    steps: int | None = None  # of stage 1; default: those of each preset
    seed: int = 0
    set: dict[str, Any] = {}
    crop: int | None = None  # px; the central part of each picture
    frames: int | None = None  # of each clip
    patch: Size | None = None  # of clips; default: by the rule of the paper
    base: str = "none"  # what networks start from


def jobs(instances: Sequence[Instance], plan: Plan) -> list[Job]:
    """All jobs of a plan, codec by codec in its order.

    Raises:
      UserError: an unknown method, or settings that no fit could have.
    """
    known = presets()
    return [
        job
        for name in plan.methods
        for job in (
            _fits(instances, plan, known[name], name)
            if name in known
            else _classical(instances, plan, _anchor(name, known))
        )
    ]


def presets() -> dict[str, str]:
    """preset -> method, over all methods."""
    return {preset: name for name in method.METHODS for preset in method.load(name).presets}


def _fits(instances: Sequence[Instance], plan: Plan, method_name: str, preset: str) -> list[Job]:
    from overfit.fitting.groups import Options, configuration, steps_for

    listed, label = [], ""
    for lmbda in plan.lmbdas:
        options = {
            "method": method_name,
            "preset": preset,
            "lmbda": lmbda,
            "steps": steps_for(plan.steps, method_name, preset, plan.set),
            "seed": plan.seed,
            "set": plan.set,
        }
        if plan.patch is not None:
            options["patch"] = plan.patch
        configuration(Options(**options))
        options = with_base(options, plan.base)
        if method.load(method_name).pretraining is not None and "base" not in options:
            raise UserError(f"{preset} needs a base: give one with --base")
        listed.append(options)
        label = fit_label(options)  # the same for every lambda
    return [
        _job(instance, plan, label, "overfit", "lmbda", options["lmbda"], ".ovf", options)
        for instance in instances
        for options in listed
    ]


def _anchor(name: str, known: Mapping[str, str]) -> codecs.Codec:
    if name not in codecs.names():
        everything = [*known, *codecs.names()]
        near = difflib.get_close_matches(name, everything) or everything
        raise UserError(f"there is no preset or codec '{name}'; choose one of {', '.join(near)}")
    return codecs.load(name)


def _classical(instances: Sequence[Instance], plan: Plan, codec: codecs.Codec) -> list[Job]:
    values = plan.ladders.get(codec.name, codec.ladder)
    return [
        _job(instance, plan, codec.name, codec.name, codec.knob, value, codec.extension, {})
        for instance in instances
        for value in values
    ]


def _job(instance, plan: Plan, label, codec, knob, value, extension, options) -> Job:
    crop = "" if plan.crop is None else f"@{plan.crop}"
    file = f"files/{slug(label)}/{knob}={value:g}/{instance.name}{crop}{extension}"
    setting = {knob: float(value)}
    return Job(instance, label, codec, setting, file, options, plan.crop, plan.frames)
