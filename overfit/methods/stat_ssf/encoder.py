"""What a base has of a training, and what a file has of a base where nothing is adapted. No JAX."""

import numpy as np

from overfit.bases.base import Base
from overfit.coding.factorized import freeze as freeze_table
from overfit.errors import UserError
from overfit.io.clip import Clip
from overfit.methods.stat_ssf import codec
from overfit.methods.stat_ssf.codec import Code
from overfit.methods.stat_ssf.config import StatSsfConfig
from overfit.nn import factorized, gains


def freeze(networks: dict[str, dict], config: StatSsfConfig) -> dict[str, dict]:
    """With the integer tables of the hyper-latents' priors."""
    frozen = dict(networks)
    for network, arrays in networks.items():
        if not network.endswith("_hyper_latents"):
            continue
        density = {name: array.astype(np.float64) for name, array in arrays.items()}
        tables = freeze_table(
            lambda x, p=density: factorized.masses(p, x.astype(np.float64)),
            config.transform.hyper_channels,
        )
        frozen[network] = arrays | tables
    return frozen


def plain(clip: Clip, base: Base | None, lmbda: float, config: StatSsfConfig) -> Code:
    """The code of an RGB clip without any change of the base, and without its frames.

    Raises:
      UserError: no base, or a clip that a file cannot hold.
    """
    if base is None:
        raise UserError("method stat-ssf needs a base; see overfit bases list")
    codec.configuration(base)
    codec.check_shape(clip.shape)
    rate = int(gains.position(lmbda, config.rates.lmbdas))
    return Code(config, clip.shape, rate, "none", {}, [])


def code(clip: Clip, base: Base | None, lmbda: float, config: StatSsfConfig) -> Code:
    """The code of a clip as the base has it, without any fit. Raises as `plain`."""
    start = plain(clip, base, lmbda, config)
    assert base is not None
    return codec.encoded(start, base, clip.planes[0])[0]
