"""What follows from a configuration: neighborhoods, orders, layer sizes, arrays. No arrays held."""

from overfit.methods.c3.config import C3Config

Offsets = tuple[tuple[int, int], ...]  # (dy, dx)


def causal_offsets(radius: int) -> Offsets:
    """The neighbors that precede a position in raster order (Fig. 10, left)."""
    reach = range(-radius, radius + 1)
    return tuple((dy, dx) for dy in range(-radius, 1) for dx in reach if (dy, dx) < (0, 0))


def full_offsets(radius: int) -> Offsets:
    """A whole square neighborhood (Fig. 10, right); none for a radius of -1."""
    reach = range(-radius, radius + 1)
    return tuple((dy, dx) for dy in reach for dx in reach)


def coding_order(config: C3Config) -> tuple[int, ...]:
    """Indices of the grids in the order in which they are coded."""
    grids = tuple(range(config.latents.num_grids))
    return grids if config.latents.order == "fine_to_coarse" else grids[::-1]


def entropy_sizes(config: C3Config) -> tuple[int, ...]:
    """Layer sizes of the entropy network, from the context to (location, log-scale)."""
    entropy = config.entropy
    taps = len(causal_offsets(entropy.context)) + len(full_offsets(entropy.previous))
    return (taps, *entropy.widths, 2)


def synthesis_sizes(config: C3Config, channels: int) -> tuple[int, ...]:
    """Layer sizes of the pointwise part of the synthesis, from the grids to the channels."""
    return (config.latents.num_grids, *config.synthesis.widths, channels)


def _layers(sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        shapes |= {f"w{i}": (fan_out, fan_in), f"b{i}": (fan_out,)}
    return shapes


def parameter_shapes(config: C3Config, channels: int) -> dict[str, dict[str, tuple[int, ...]]]:
    """{network: {array: shape}}, in the order in which a file carries them."""
    entropy = _layers(entropy_sizes(config))
    grids = config.latents.num_grids
    if config.entropy.per_grid == "separate":
        entropy = {name: (grids, *shape) for name, shape in entropy.items()}
    elif config.entropy.per_grid == "film":
        for i, width in enumerate(config.entropy.widths):
            entropy |= {f"scale{i}": (grids, width), f"shift{i}": (grids, width)}
    synthesis = _layers(synthesis_sizes(config, channels))
    for i in range(config.synthesis.residual_layers):
        synthesis |= {
            f"residual_w{i}": (channels, 9 * channels),
            f"residual_b{i}": (channels,),
        }
    if config.synthesis.upsampling == "learned":
        synthesis["upsampling"] = (8, 8)
    return {"entropy": entropy, "synthesis": synthesis}


def is_bias(name: str) -> bool:
    """Whether an array is added (a bias) rather than multiplied (a weight)."""
    return name.startswith(("b", "shift", "residual_b"))
