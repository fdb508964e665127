"""JSON for every reader: no infinities in it, and whole files."""

import json
import math
import os
from typing import Any

from overfit.io.atomic import atomic_write


def finite(value: Any) -> Any:
    """The value with every infinite or undefined number as None: JSON has none of them."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any, indent: int | None = None) -> str:
    """The value as JSON, on one line or indented."""
    return json.dumps(finite(value), indent=indent, ensure_ascii=indent is not None)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes an indented JSON file, whole or not at all; UserError where it cannot."""
    with atomic_write(path) as file:
        file.write(json_text(value, 1).encode() + b"\n")
