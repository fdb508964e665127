"""What pretraining leaves to a base."""

import numpy as np

from overfit.coding.factorized import freeze as freeze_table
from overfit.methods.stat_ssf.config import StatSsfConfig
from overfit.nn import factorized


def freeze(networks: dict[str, dict], config: StatSsfConfig) -> dict[str, dict]:
    """With the integer tables of the hyper-latents' priors."""
    frozen = dict(networks)
    for network, arrays in networks.items():
        if not network.endswith("_hyper_latents"):
            continue
        density = {name: array.astype(np.float64) for name, array in arrays.items()}
        tables = freeze_table(
            lambda x, p=density: factorized.masses(p, x.astype(np.float64)),
            config.transform.latents,
        )
        frozen[network] = arrays | tables
    return frozen
