"""How a base is trained."""

from typing import Any, NamedTuple


class Plan(NamedTuple):
    """How a base is trained; the names are those of the command line."""

    method: str = "c3"
    preset: str | None = None
    set: dict[str, Any] = {}
    outer_steps: int = 150
    batch: int = 8  # fits of an outer step
    steps: int = 250  # of stage 1 of each fit
    crop: int = 128  # px
    lmbdas: tuple[float, float] = (2e-4, 2e-2)  # drawn evenly on a logarithmic scale between these
    rate: tuple[float, float] = (0.7, 0.1)  # of the outer step, at the start and at the end
    memory: float = 0.9  # share of the scales that an outer step keeps
    held_out: int = 8  # crops that are not trained on
    seed: int = 0
