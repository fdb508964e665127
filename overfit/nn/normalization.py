"""Generalized (subtractive and) divisive normalization across channels, GDN and GSDN.

Sources: Balle, Laparra and Simoncelli, arXiv 1511.06281 (GDN); Qian et al., ICLR 2021, Eqs. 5 and 6
(GSDN). NumPy and JAX arrays alike; x is [channels, positions].
"""

import numpy as np

PEDESTAL = 2.0**-36  # keeps the gradient of a parameter at its bound (arXiv 1511.06281, code)
VECTOR_BOUND = (1e-6 + PEDESTAL) ** 0.5  # of raw beta and nu: the parameters are at least 1e-6
MATRIX_BOUND = PEDESTAL**0.5  # of raw gamma and tau: they are at least 0


def effective(raw, bound: float):
    """The parameter p = max(raw, bound)^2 - 2^-36 that is never negative (code of both papers)."""
    xp = raw.__array_namespace__()
    return xp.square(xp.maximum(raw, xp.asarray(bound, raw.dtype))) - raw.dtype.type(PEDESTAL)


def initial(channels: int) -> dict[str, np.ndarray]:
    """Raw parameters of a normalization that hardly does anything: beta 1, gamma and tau 0.1 I."""
    root = np.sqrt(0.1 * np.eye(channels) + PEDESTAL).astype(np.float32)
    vector = np.zeros(channels, np.float32)
    return {"beta": vector + 1, "gamma": root, "nu": vector, "tau": root}


def _norm(p: dict, x):
    beta, gamma = effective(p["beta"], VECTOR_BOUND), effective(p["gamma"], MATRIX_BOUND)
    return x.__array_namespace__().sqrt(gamma @ (x * x) + beta[:, None])


def _mean(p: dict, x):
    return effective(p["tau"], MATRIX_BOUND) @ x + effective(p["nu"], VECTOR_BOUND)[:, None]


def normalize(p: dict, x):
    """GSDN where p has nu and tau (Eq. 5), else GDN: (x - nu - tau x) / sqrt(beta + gamma x^2)."""
    return (x - _mean(p, x) if "nu" in p else x) / _norm(p, x)


def denormalize(p: dict, x):
    """Their approximate inverses with parameters of their own (Eq. 6)."""
    scaled = x * _norm(p, x)
    return scaled + _mean(p, x) if "nu" in p else scaled
