"""What a file carries where nothing is adapted: the base's own latents. NumPy only."""

import numpy as np

from overfit.bases.base import Base, start
from overfit.coding.factorized import freeze as freeze_table
from overfit.errors import UserError
from overfit.methods.reference import networks
from overfit.methods.reference.architecture import padded
from overfit.methods.reference.codec import Code, check_size, configuration
from overfit.methods.reference.config import ReferenceConfig
from overfit.nn import factorized
from overfit.nn.gains import RATE_UNITS, gains, position
from overfit.nn.layers import floats


def padded_image(signal: np.ndarray) -> np.ndarray:
    """[1 or 3, height, width] as three channels, edges repeated to whole hyper-latents."""
    _, height, width = signal.shape
    rows, columns = padded(height, width)
    image = np.broadcast_to(signal, (3, height, width))
    return np.pad(image, ((0, 0), (0, rows - height), (0, columns - width)), mode="edge")


def analyze(signal: np.ndarray, rate: int, config: ReferenceConfig, base: Base):
    """Latents in bins, and hyper-latents or None, before rounding: float32."""
    model = start(base).networks
    layers = floats(model)
    image = padded_image(np.asarray(signal, np.float32))
    y = networks.analysis(layers, model, image)
    y = y * gains(model["gains"]["encoder"], rate / RATE_UNITS)
    z = networks.hyper_analysis(layers, y) if config.entropy.hyperprior else None
    return y, z


def freeze(networks: dict[str, dict], config: ReferenceConfig) -> dict[str, dict]:
    """With the integer tables of a factorized prior."""
    if not config.entropy.hyperprior or config.entropy.hyper_prior != "factorized":
        return networks
    density = {name: array.astype(np.float64) for name, array in networks["hyper_latents"].items()}
    tables = freeze_table(
        lambda x: factorized.masses(density, x.astype(np.float64)), config.entropy.hyper_width
    )
    return networks | {"hyper_latents": networks["hyper_latents"] | tables}


def code(signal: np.ndarray, base: Base | None, lmbda: float, config: ReferenceConfig) -> Code:
    """The code of an image [1 or 3, height, width], values in 0..1, as the base has it.

    config: that of the base, with the order of coding.

    Raises:
      UserError: no base, or an image that is too large.
    """
    if base is None:
        raise UserError("method reference needs a base; see overfit bases list")
    configuration(base)
    size = signal.shape[1], signal.shape[2]
    check_size(*size)
    rate = int(position(lmbda, config.rates.lmbdas))
    y, z = analyze(signal, rate, config, base)
    rounded = np.rint(y).astype(np.int64)
    hyper = None if z is None else np.rint(z).astype(np.int64)
    return Code(config, size, len(signal) == 1, rate, "none", {}, rounded, hyper)
