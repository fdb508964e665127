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
    frames: int = 8  # of clips that are fitted in patches, or as many as the shortest has
    lmbdas: tuple[float, float] = (2e-4, 2e-2)  # drawn evenly on a logarithmic scale between these
    rate: tuple[float, float] = (0.7, 0.1)  # of the outer step, at the start and at the end
    free: float = 0.6  # share of the outer steps in whose fits the networks have no rate yet
    wider: float = 4.0  # a crop has so many fewer pixels to pay for networks than a whole image
    encoder_batches: int = 4  # of fits, at the end, by which latents are guessed from the image
    memory: float = 0.9  # share of the scales that an outer step keeps
    held_out: int = 8  # crops that are not trained on
    seed: int = 0
    base: str | None = None  # to go on from, instead of random networks
