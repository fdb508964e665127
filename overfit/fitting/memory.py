"""How many fits there is room for at a time."""

from collections.abc import Sequence
from typing import TypeVar

import jax

Item = TypeVar("Item")

# Bytes per pixel of a fit. On CPU its state (32), a copy for checkpoints, and the signal; what
# lies between operations (310 by XLA's analysis) is there once per device. Accelerators run fits
# side by side: on an H100 images took 690 each, clips with 121 neighbors 1220. A search for masks,
# which sees a whole window, is not measured, nor is a canvas; hence so much more.
_CPU, _ACCELERATOR = 100, 4000
_CPU_MEMORY = 4e9  # bytes that a group may take on CPU, unless one fit per device takes more


def accelerator_memory() -> float:
    """Bytes of all local accelerators together; 0 where fits run on CPUs."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return 0.0
    return sum((device.memory_stats() or {}).get("bytes_limit", 8e9) for device in devices)


def room(pixels: int, memory: float) -> int:
    """How many fits of so many pixels accelerators of that memory (bytes) take at a time."""
    return max(1, int(0.8 * memory / (_ACCELERATOR * pixels)))


def at_once(pixels: int) -> int:
    """How many fits of so many pixels this process takes at a time."""
    memory = accelerator_memory()
    if memory:
        return room(pixels, memory)
    return max(jax.local_device_count(), int(_CPU_MEMORY / (_CPU * pixels)))


def rounds(items: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """Cut into as few rounds of at most that many as may be, the last of which may be smaller.

    Otherwise they are of one size: another size has a program of its own.
    """
    count = -(-len(items) // most)
    size = -(-len(items) // max(count, 1))
    return [items[first : first + size] for first in range(0, len(items), max(size, 1))]
