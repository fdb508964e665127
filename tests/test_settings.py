"""--set and set=: every field of a configuration can be reached, and nothing wrong gets in."""

import dataclasses
from typing import Literal

import pytest

from overfit.errors import UserError
from overfit.methods.c3.config import PRESETS
from overfit.settings import override, parse_assignments, paths


@dataclasses.dataclass(frozen=True)
class Inner:
    count: int = 3
    rate: float = 0.5
    enabled: bool = True
    kind: Literal["round", "square"] = "round"
    widths: tuple[int, ...] = (18, 18)
    limit: float | None = None

    def __post_init__(self):
        if self.count > 100:
            raise ValueError("count must be at most 100")


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    name: str = "a"


@pytest.mark.parametrize(
    "field, text, value",
    [
        ("count", "7", 7),
        ("count", "-7", -7),
        ("rate", "7", 7.0),
        ("rate", "1e-3", 1e-3),
        ("enabled", "false", False),
        ("enabled", "True", True),
        ("enabled", "0", False),
        ("enabled", "on", True),
        ("kind", "square", "square"),
        ("widths", "12", (12,)),
        ("widths", "12,13,14", (12, 13, 14)),
        ("widths", "(12, 13)", (12, 13)),
        ("widths", "[12, 13,]", (12, 13)),
        ("widths", "", ()),
        ("limit", "2.5", 2.5),
    ],
)
def test_strings_are_read_as_the_type_of_their_field(field, text, value):
    inner = override(Outer(), {f"inner.{field}": text}).inner
    assert getattr(inner, field) == value and type(getattr(inner, field)) is type(value)
    assert dataclasses.replace(inner, **{field: getattr(Inner(), field)}) == Inner()


@pytest.mark.parametrize(
    "field, value",
    [("count", 7), ("rate", 7), ("enabled", False), ("kind", "square"), ("widths", [1, 2])],
)
def test_values_of_the_python_interface_are_taken(field, value):
    inner = override(Outer(), {f"inner.{field}": value}).inner
    assert getattr(inner, field) == (tuple(value) if field == "widths" else value)
    assert isinstance(inner.rate, float)


@pytest.mark.parametrize(
    "field, text, expected",
    [
        ("count", "7.5", "whole number"),
        ("count", 7.5, "whole number"),
        ("count", "many", "whole number"),
        ("count", "", "whole number"),
        ("count", None, "whole number"),
        ("count", "101", "count must be at most 100"),
        ("rate", "fast", "a number"),
        ("enabled", "maybe", "true or false"),
        ("kind", "oval", "round, square"),
        ("widths", "12,a", "whole number"),
        ("widths", "12.5", "whole number"),
    ],
)
def test_a_value_of_another_type_is_refused(field, text, expected):
    """With a message that names the setting, the value and what was expected."""
    with pytest.raises(UserError) as error:
        override(Outer(), {f"inner.{field}": text})
    message = str(error.value)
    assert f"inner.{field}" in message and str(text) in message and expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "path, near",
    [("inner.cuont", "inner.count"), ("count", "inner.count"), ("inner.width", "inner.widths")],
)
def test_an_unknown_setting_is_refused_and_near_ones_are_named(path, near):
    with pytest.raises(UserError) as error:
        override(Outer(), {path: "1"})
    assert f"'{path}'" in str(error.value) and near in str(error.value)


@pytest.mark.parametrize("path", ["", "zzz", "inner", "inner.", "inner.count.more", ".", "a" * 300])
def test_what_is_not_a_setting_at_all_is_refused(path):
    with pytest.raises(UserError, match="no setting"):
        override(Outer(), {path: "1"})


def test_several_settings_and_the_original():
    original = Outer()
    changed = override(original, {"inner.count": "1", "inner.rate": "2", "name": "b"})
    assert (changed.inner.count, changed.inner.rate, changed.name) == (1, 2.0, "b")
    assert original == Outer() and override(original, {}) == original


def test_paths_reach_every_field():
    assert paths(Outer()) == {
        "inner.count": 3,
        "inner.rate": 0.5,
        "inner.enabled": True,
        "inner.kind": "round",
        "inner.widths": (18, 18),
        "inner.limit": None,
        "name": "a",
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_every_setting_of_a_preset_can_be_given_as_text(preset):
    """`--set` with the value that `overfit info` prints changes nothing."""
    config = PRESETS[preset]
    for path, value in paths(config).items():
        assert override(config, {path: str(value)}) == config, path


@pytest.mark.parametrize(
    "path, value",
    [
        ("latents.num_grids", "0"),
        ("latents.num_grids", "16"),
        ("latents.first_octave", "-1"),
        ("latents.q_step", "0"),
        ("latents.q_step", "0.3333"),
        ("latents.q_step", "1.004"),
        ("latents.q_step", "nan"),
        ("latents.order", "random"),
        ("entropy.context", "8"),
        ("entropy.previous", "7"),
        ("entropy.previous", "-2"),
        ("entropy.log_scale_shift", "16"),
        ("entropy.widths", "0"),
        ("entropy.widths", "65"),
        ("synthesis.widths", "1,1,1,1,1,1,1,1"),
        ("synthesis.residual_layers", "8"),
        ("quantizer.noise", "uniform"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_before_the_fit(path, value):
    with pytest.raises(UserError, match=path.replace(".", r"\.")):
        override(PRESETS["c3-kodak"], {path: value})


def test_assignments_are_split_at_the_first_equals_sign():
    assert parse_assignments(["a.b=1", " c = x=y "]) == {"a.b": "1", "c": "x=y"}
    assert parse_assignments(["a=1", "a=2"]) == {"a": "2"}  # the last one counts
    assert parse_assignments([]) == {}


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_assignments_without_a_key_are_refused(pair):
    with pytest.raises(UserError, match="key=value"):
        parse_assignments([pair])
