"""What a result says of where it was made."""

import functools
import importlib.metadata
import platform

import jax


def device() -> str:
    """The kind of device that fits run on."""
    kind = jax.local_devices()[0].device_kind
    return platform.processor() or platform.machine() if kind == "cpu" else kind


@functools.cache
def versions() -> dict[str, str]:
    names = ("overfit", "jax", "jaxlib", "optax", "numpy", "constriction")
    return {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in names}
