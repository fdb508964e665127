"""Typed overrides of nested frozen dataclasses by dotted path: `--set entropy.context=2`."""

import dataclasses
import difflib
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from overfit.errors import UserError


def paths(config) -> dict[str, Any]:
    """{dotted path: value} of every field, nested dataclasses opened."""
    flat = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= {f"{field.name}.{path}": v for path, v in paths(value).items()}
        else:
            flat[field.name] = value
    return flat


def lasting(config) -> dict[str, Any]:
    """Those that trained networks belong to: neither how, nor for what one file, they are used."""
    return {
        path: value
        for path, value in paths(config).items()
        # What is in no group is an encoder's choice.
        if "." in path and not path.startswith(("fit.", "training."))
    }


def override(config, assignments: dict[str, Any]):
    """A copy with the named fields replaced; strings are read as their field's type.

    Raises UserError for an unknown path (naming the near ones) and for a value that does not fit.
    """
    for path, value in assignments.items():
        if path not in paths(config):
            near = difflib.get_close_matches(path, paths(config), n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else "see `overfit encode --help`"
            raise UserError(f"there is no setting '{path}': {hint}")
        try:
            config = _replaced(config, path.split("."), value, path)
        except ValueError as error:
            raise UserError(f"setting '{path}' cannot be '{value}': {error}") from error
    return config


def _replaced(config, path: list[str], value, whole_path: str):
    name, *rest = path
    if rest:
        value = _replaced(getattr(config, name), rest, value, whole_path)
    else:
        value = _converted(value, get_type_hints(type(config))[name])
    return dataclasses.replace(config, **{name: value})


def _converted(value, kind):
    """`value` as the annotated type; raises ValueError saying what was expected."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"choose one of {', '.join(map(str, arguments))}")
        return value
    if origin in (Union, types.UnionType):
        return _converted(value, next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        items = value.strip("()[] ").split(",") if isinstance(value, str) else value
        return tuple(_converted(item, arguments[0]) for item in items if item != "")
    if kind is bool:
        words = {"true": True, "false": False, "1": True, "0": False, "on": True, "off": False}
        if str(value).lower() not in words:
            raise ValueError("expected true or false")
        return words[str(value).lower()]
    if kind is int and (isinstance(value, float) or "." in str(value)):
        raise ValueError("expected a whole number")
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected {'a whole number' if kind is int else 'a number'}") from None


def parse_assignments(pairs: list[str], option: str = "--set") -> dict[str, str]:
    """["a.b=1", ...] -> {"a.b": "1"}; raises UserError where the '=' is missing."""
    assignments = {}
    for pair in pairs:
        path, equals, value = pair.partition("=")
        if not equals or not path:
            raise UserError(f"{option} takes key=value, not '{pair}'")
        assignments[path.strip()] = value.strip()
    return assignments
