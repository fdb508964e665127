"""What follows from a configuration: neighborhoods, orders, layer sizes, arrays. No arrays held."""

from overfit.errors import UserError
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


def frame_offsets(config: C3Config, grid: int) -> Offsets:
    """What a grid sees of the frame before: neighbors, or a mask counted from its upper left."""
    entropy = config.entropy
    if not entropy.mask:
        return full_offsets(entropy.frame)
    square = range(entropy.mask)
    return tuple((dy, dx) for dy in square for dx in square if grid < num_masks(config))


def num_masks(config: C3Config) -> int:
    """How many grids, counted from the finest, have a mask in the frame before."""
    entropy = config.entropy
    return min(entropy.mask_grids, config.latents.num_grids) if entropy.mask else 0


def check_rank(size: tuple[int, ...], config: C3Config) -> None:
    """Raises UserError where a setting does not go with an image, or with a clip.

    size: (height, width) or (frames, height, width).
    """
    entropy, synthesis = config.entropy, config.synthesis
    if len(size) == 2 and config.samples.format != "rgb":
        raise UserError("images are RGB or grey: set samples.format=rgb")
    if len(size) == 2 and (
        entropy.frame >= 0 or not synthesis.per_frame or any(config.latents.margin)
    ):
        raise UserError(
            "an image has one frame only: set entropy.frame=-1, synthesis.per_frame=true and "
            "latents.margin=0,0, or choose a preset for images"
        )
    if len(size) == 3 and (entropy.previous >= 0 or synthesis.upsampling == "learned"):
        raise UserError(
            "clips have no previous-grid context and no learned upsampling: set "
            "entropy.previous=-1 and synthesis.upsampling=bilinear"
        )


def coding_order(config: C3Config) -> tuple[int, ...]:
    """Indices of the grids in the order in which they are coded."""
    grids = tuple(range(config.latents.num_grids))
    return grids if config.latents.order == "fine_to_coarse" else grids[::-1]


def entropy_sizes(config: C3Config, grid: int = 0) -> tuple[int, ...]:
    """Layer sizes of a grid's entropy network, from the context to (location, log-scale)."""
    return (taps_in_frame(config) + len(frame_offsets(config, grid)), *config.entropy.widths, 2)


def taps_in_frame(config: C3Config) -> int:
    """Size of the context without the frame before."""
    entropy = config.entropy
    return len(causal_offsets(entropy.context)) + len(full_offsets(entropy.previous))


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
    sizes, grids = entropy_sizes(config), config.latents.num_grids
    entropy = _layers((taps_in_frame(config), *sizes[1:]))
    if config.entropy.per_grid == "separate":
        entropy = {name: (grids, *shape) for name, shape in entropy.items()}
    elif config.entropy.per_grid == "film":
        for i, width in enumerate(config.entropy.widths):
            entropy |= {f"scale{i}": (grids, width), f"shift{i}": (grids, width)}
    if config.entropy.frame >= 0:
        entropy |= {"frame_w": frame_weight_shape(config, len(frame_offsets(config, 0)))}
    synthesis = _layers(synthesis_sizes(config, channels))
    taps = residual_taps(config)
    for i in range(config.synthesis.residual_layers):
        synthesis |= {
            f"residual_w{i}": (channels, taps * channels),
            f"residual_b{i}": (channels,),
        }
    if config.synthesis.upsampling == "learned":
        synthesis["upsampling"] = (8, 8)
    return {"entropy": entropy, "synthesis": synthesis}


def frame_weight_shape(config: C3Config, taps: int) -> tuple[int, ...]:
    """Of the first layer's weights for so many values of the frame before."""
    entropy = config.entropy
    shape = (entropy_sizes(config)[1], taps)
    if entropy.per_grid != "separate":
        return shape
    return (num_masks(config) or config.latents.num_grids, *shape)


def residual_taps(config: C3Config) -> int:
    """Of a residual convolution, per input channel."""
    return 9 if config.synthesis.per_frame else 27


def is_bias(name: str) -> bool:
    """Whether an array is added (a bias) rather than multiplied (a weight)."""
    return name.startswith(("b", "shift", "residual_b"))
