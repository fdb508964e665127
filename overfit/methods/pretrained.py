"""What codecs have in common whose base is all of their networks."""

from collections.abc import Callable
from typing import Any

from overfit import settings
from overfit.bases.base import Base
from overfit.errors import UserError


def configuration(base: Base | None, default: Any, shapes: Callable[[Any], dict], name: str) -> Any:
    """What a base was trained for.

    default: a configuration of the method of that name; shapes(config) -> those of a base's arrays.

    Raises:
      UserError: there is no base, or its arrays are not those of its settings.
    """
    if base is None:
        raise UserError(f"a file of method {name} needs the base that it was made with")
    try:
        config = settings.override(default, base.settings)
    except ValueError as error:
        raise UserError(f"the base is damaged: {error}") from error
    if base.shapes() != shapes(config):
        raise UserError("the base is damaged: its arrays are not those of its settings")
    return config
