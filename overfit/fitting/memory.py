"""How many fits there is room for at a time."""

import jax

# Bytes per pixel of a fit. On CPU its state (32), a copy for checkpoints, and the signal; what
# lies between operations (310 by XLA's analysis) is there once per device. Accelerators run fits
# side by side; what they keep is not measured yet, and this is ten times XLA's figure for CPUs.
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
