"""The space of a sweep: a TOML file, checked, as a list of settings.

    preset = "c3-kodak"                # what the settings change
    lmbdas = [1e-3]                    # default: [1e-3]
    objective = "rd_cost"              # the default, and so far the only one

    [budget]                           # every key has a default, see `Budget`
    steps = 10_000
    rungs = [0.1, 0.3]
    keep = 0.33

    [set]                              # what all settings share
    "latents.num_grids" = 6

    [axes]                             # every combination of one choice per axis is a setting
    "synthesis.widths" = [[12, 12], [18, 18]]
    "entropy.previous" = [-1, 1]
    "latents.order" = ["fine_to_coarse", "coarse_to_fine"]

    [tied]                             # takes the value of an axis
    "entropy.widths" = "synthesis.widths"

    [when]                             # an axis that exists only where others above it have one
    "latents.order" = { "entropy.previous" = [1] }    # of these values

    [search]                           # asks for a sampler; every key has a default, see `Search`
    sampler = "tpe"
    trials = 40

The paths are those of `--set`, in quotes. Where an axis does not exist, the value is the preset's.
An axis may also be `preset = ["c3-uvg-shared", "c3-uvg-masked"]`, in the place of the key: what
else is set and chosen changes that preset.
With [search] an axis may be a range: { low = 1e-3, high = 3e-2, log = true }.
"""

import difflib
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from overfit import method
from overfit.errors import UserError
from overfit.evaluation import presets
from overfit.settings import override


def rd_cost(record: dict[str, Any]) -> float:
    """D + lambda * R of a file: squared error with pixels in [0, 1], all its bits per pixel."""
    return record["mse"] / 255**2 + record["setting"]["lmbda"] * record["bpp"]


PRESET = "preset"  # the axis whose values are presets
OBJECTIVES = {"rd_cost": rd_cost}  # of a record of `jobs.records`


@dataclass(frozen=True)
class Budget:
    """How long fits run, and when `halving` drops some."""

    steps: int = 10_000  # of stage 1
    rungs: tuple[float, ...] = (0.1, 0.3)  # fractions of stage 1 after which settings are dropped
    keep: float = 0.33  # fraction that goes on after each rung; at least one setting does

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"budget: steps must be at least 1, not {self.steps}")
        ordered = all(a < b for a, b in zip((0.0, *self.rungs), (*self.rungs, 1.0), strict=True))
        if not ordered:
            raise UserError(f"budget: rungs must increase within (0, 1), not {list(self.rungs)}")
        if not 0 < self.keep < 1:
            raise UserError(f"budget: keep must be a fraction in (0, 1), not {self.keep}")


@dataclass(frozen=True)
class Search:
    """How settings are sampled, by Optuna."""

    sampler: str = "tpe"  # or "random"
    trials: int = 40  # for each lambda; those that are pruned or break a limit count
    at_once: int = 4  # trials that are asked for and run together
    pruner: str = "halving"  # or "median" or "none"; asked at each rung of the budget
    storage: str | None = None  # URL of a database; default: a journal in the output folder
    limits: Mapping[str, float] = field(default_factory=dict)  # {key of LIMITS: at most}

    def __post_init__(self):
        _known([self.sampler], SAMPLERS, "sampler")
        _known([self.pruner], PRUNERS, "pruner")
        _known(self.limits, LIMITS, "limit")
        if self.trials < 1 or self.at_once < 1:
            raise UserError("search: trials and at_once must be at least 1")


SAMPLERS = ("tpe", "random")
PRUNERS = ("halving", "median", "none")
LIMITS = ("macs_per_pixel",)


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included."""

    low: float
    high: float
    log: bool = False  # sampled evenly on a logarithmic scale
    step: float | None = None

    def __post_init__(self):
        if not self.low < self.high:
            raise UserError(f"a range needs low < high, not {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise UserError("a range on a logarithmic scale needs low > 0 and has no step")
        if self.step is not None and self.step <= 0:
            raise UserError(f"the step of a range must be positive, not {self.step}")


@dataclass(frozen=True)
class Axis:
    """A dotted path and its choices."""

    path: str
    choices: tuple[Any, ...] | Range
    tied: tuple[str, ...] = ()  # paths that take the same value
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # {axis: its values}

    def exists(self, chosen: Mapping[str, Any]) -> bool:
        """Whether it has a value after what the axes before it have chosen."""
        return all(chosen.get(path) in values for path, values in self.when.items())

    def assign(self, value: Any) -> dict[str, Any]:
        """{path: value} of this axis and of what is tied to it."""
        return dict.fromkeys((self.path, *self.tied), value)

    def options(self, chosen: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What this axis can add to what the axes before it have chosen; of a range, its ends."""
        if not self.exists(chosen):
            return [{}]
        choices = self.choices
        values = (choices.low, choices.high) if isinstance(choices, Range) else choices
        return [self.assign(value) for value in values]


@dataclass(frozen=True)
class Sweep:
    """A checked sweep."""

    name: str  # of its file
    preset: str  # the first one, where presets are an axis
    axes: tuple[Axis, ...]
    set: Mapping[str, Any] = field(default_factory=dict)
    lmbdas: tuple[float, ...] = (1e-3,)
    budget: Budget = Budget()
    objective: str = "rd_cost"
    search: Search | None = None

    def strategy(self, asked: str | None) -> str:
        """The strategy of a run: "search" where there is a [search], else "halving".

        Raises:
          UserError: the one that was asked for cannot take this sweep.
        """
        if asked == "search" and self.search is None:
            raise UserError(f"'{self.name}' has no [search] to go by")
        if asked in (None, "search"):
            return "halving" if self.search is None else "search"
        if self.ranges:
            raise UserError(f"{asked} needs choices, but axis '{self.ranges[0]}' is a range")
        return asked

    @property
    def ranges(self) -> list[str]:
        """The axes that only a search can take."""
        return [axis.path for axis in self.axes if isinstance(axis.choices, Range)]

    def settings(self) -> list[dict[str, Any]]:
        """{path: value} of every setting, the last axis varying fastest; of ranges, the ends."""
        found: list[dict[str, Any]] = [{}]
        for axis in self.axes:
            found = [chosen | more for chosen in found for more in axis.options(chosen)]
        return [dict(self.set) | chosen for chosen in found]

    def changed(self, setting: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """(preset, {path: value}) of a setting: which preset it changes, and where."""
        changes = {path: value for path, value in setting.items() if path != PRESET}
        return setting.get(PRESET, self.preset), changes

    def replaced(self, steps: int | None, lmbdas: Sequence[float] | None) -> "Sweep":
        """With other steps of stage 1 or lambdas, where they are given."""
        budget = self.budget if steps is None else replace(self.budget, steps=steps)
        return replace(self, budget=budget, lmbdas=tuple(lmbdas or self.lmbdas))


def read_sweep(path: str | os.PathLike[str]) -> Sweep:
    """Reads and checks a sweep file.

    Raises:
      UserError: it cannot be read, has an unknown key, or settings that no fit could have.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is no TOML file: {error}") from error
    try:
        return parse(document, Path(path).stem)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from error


def parse(document: dict[str, Any], name: str) -> Sweep:
    """The sweep that a TOML document describes; raises UserError like `read_sweep`."""
    tables = {"preset": str, "lmbdas": list, "objective": str} | dict.fromkeys(
        ("budget", "set", "axes", "tied", "when", "search"), dict
    )
    _known(document, tables, "key")
    for key, value in document.items():
        if not isinstance(value, tables[key]):
            kinds = {str: "a string", list: "a list", dict: f"a table [{key}]"}
            raise UserError(f"{key} must be {kinds[tables[key]]}, not {value!r}")
    if not document.get("axes") or (PRESET in document) == (PRESET in document["axes"]):
        raise UserError(
            "a sweep needs at least one axis below [axes] and a preset, as a key or as an axis"
        )
    axes = _axes(document["axes"], document.get("tied", {}), document.get("when", {}))
    choices = next((axis.choices for axis in axes if axis.path == PRESET), (document.get(PRESET),))
    if isinstance(choices, Range) or not all(isinstance(choice, str) for choice in choices):
        raise UserError("the axis 'preset' must be a list of presets")
    sweep = Sweep(
        name=name,
        preset=str(choices[0]),
        axes=axes,
        set=document.get("set", {}),
        lmbdas=_numbers(document.get("lmbdas", Sweep.lmbdas), "lmbdas"),
        budget=_budget(document.get("budget", {})),
        objective=document.get("objective", Sweep.objective),
        search=_search(document["search"]) if "search" in document else None,
    )
    _known([sweep.objective], OBJECTIVES, "objective")
    if sweep.ranges and sweep.search is None:
        raise UserError(f"axis '{sweep.ranges[0]}' is a range, which needs a [search]")
    _check(sweep)
    return sweep


def _axes(axes: dict, tied: dict, when: dict) -> tuple[Axis, ...]:
    _known(tied.values(), axes, "axis to tie to")
    _known(when, axes, "axis")
    found: dict[str, Axis] = {}
    for path, choices in axes.items():
        if isinstance(choices, dict) and "low" in choices:
            choices = _range(path, choices)
        elif not isinstance(choices, list) or not choices:
            raise UserError(
                f"axis '{path}' must be a list of choices, or a range {{ low = ..., high = ... }}; "
                "put the path in quotes"
            )
        conditions = when.get(path, {})
        if not isinstance(conditions, dict):
            raise UserError(f"the condition of '{path}' must be a table {{path = [values]}}")
        _known(conditions, found, f"axis above '{path}'")
        for other, values in conditions.items():
            if not isinstance(values, list):
                raise UserError(f"the condition of '{path}' on '{other}' must be a list of values")
            choices_there = found[other].choices
            if isinstance(choices_there, Range):
                raise UserError(f"'{path}' cannot depend on '{other}', which is a range")
            _known(values, choices_there, f"choice of '{other}'")
        found[path] = Axis(
            path,
            choices if isinstance(choices, Range) else tuple(choices),
            tuple(follower for follower, leader in tied.items() if leader == path),
            {other: tuple(values) for other, values in conditions.items()},
        )
    return tuple(found.values())


def _budget(table: dict) -> Budget:
    _known(table, [f.name for f in fields(Budget)], "key in [budget]")
    steps, keep = table.get("steps", Budget.steps), table.get("keep", Budget.keep)
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise UserError(f"budget: steps must be a whole number, not {steps!r}")
    return Budget(
        steps,
        _numbers(table.get("rungs", Budget.rungs), "rungs"),
        _numbers([keep], "keep")[0],
    )


def _range(path: str, table: dict) -> Range:
    _known(table, [f.name for f in fields(Range)], f"key in the range of '{path}'")
    log = table.get("log", False)
    numbers = {key: value for key, value in table.items() if key != "log"}
    for key, value in numbers.items():
        _numbers([value], f"{key} of '{path}'")
    if "high" not in table or not isinstance(log, bool):
        raise UserError(f"the range of '{path}' needs low and high; log is true or false")
    return Range(**numbers, log=log)


def _search(table: dict) -> Search:
    types = {"trials": int, "at_once": int, "limits": dict}
    _known(table, [f.name for f in fields(Search)], "key in [search]")
    for key, value in table.items():
        if not isinstance(value, types.get(key, str)) or isinstance(value, bool):
            raise UserError(f"search: {key} cannot be {value!r}")
    limits = table.get("limits", {})
    _numbers(list(limits.values()), "the limits of a search")
    return Search(**table)


def _numbers(values: Any, what: str) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values
    ):
        raise UserError(f"{what} must be numbers, not {values!r}")
    return tuple(map(float, values))


def _known(given: Iterable, known: Iterable, what: str) -> None:
    """Raises UserError, naming the near ones, for anything given that is not known."""
    names = list(known)
    for one in given:
        if one not in names:
            near = difflib.get_close_matches(str(one), map(str, names), cutoff=0.5)
            choose = " or ".join(near or map(str, names)) or "none here"
            raise UserError(f"there is no {what} '{one}'; choose {choose}")


def _check(sweep: Sweep) -> None:
    """Raises UserError unless every setting is a configuration of its own."""
    methods = presets()
    if not sweep.lmbdas:
        raise UserError("lmbdas must have at least one number")
    seen: dict[Any, dict] = {}
    for setting in sweep.settings():
        preset, changes = sweep.changed(setting)
        _known([preset], methods, "preset")
        config = override(method.load(methods[preset]).presets[preset], changes)
        if config in seen:
            raise UserError(f"the settings {seen[config]} and {setting} are the same")
        seen[config] = setting
