"""What follows from a configuration: layers, their channels, the arrays that a file carries."""

from typing import NamedTuple

from overfit.errors import UserError
from overfit.methods.upsampler.config import Config, Network, UpsamplerConfig

BLOCK_CHANNELS = 6  # of a base codec's block features
RESIDUAL_CHANNELS = 6  # four phases of Y, U, V

# Section 3.2: two frequencies in time, three along each side; sine and cosine of each.
TIME_FREQUENCIES, SPACE_FREQUENCIES = (0.5, 0.25), (0.5, 0.25, 0.125)
PHASORS = 2 * (len(TIME_FREQUENCIES) + 2 * len(SPACE_FREQUENCIES))


class Layer(NamedTuple):
    kind: str  # "P" or "D"
    inputs: int  # channels
    outputs: int
    normalized: bool

    @property
    def weights(self) -> tuple[int, int]:
        """Shape of the convolution's array: [out, in], or [channels, 9] with taps (dy, dx)."""
        return (self.inputs, 9) if self.kind == "D" else (self.outputs, self.inputs)


def layers(network: Network, inputs: int) -> tuple[Layer, ...]:
    """The layers of a network with that many input channels."""
    result, channels = [], inputs
    for i, name in enumerate(network.layers):
        outputs = channels if name == "D" else int(name[1:])
        normalized = network.normalize_last or i < len(network.layers) - 1
        result.append(Layer(name[0], channels, outputs, normalized))
        channels = outputs
    return tuple(result)


def networks(config: Config) -> dict[str, tuple[Layer, ...]]:
    """{name: layers} of the networks that the configuration uses, each after those it needs.

    Raises ValueError where channels do not fit together.
    """
    if not isinstance(config, UpsamplerConfig):
        found = {"luma": layers(config.luma, 6), "chroma": layers(config.chroma, 8)}
        _expect("luma", found["luma"][-1].outputs, 4)
        _expect("chroma", found["chroma"][-1].outputs, 8)
        return found
    found = {}
    encoded = 0
    if uses_features(config):
        found["feature"] = layers(config.feature, BLOCK_CHANNELS)
        encoded = found["feature"][-1].outputs
    if config.position_inputs:
        channels = {"features": encoded, "phasors": PHASORS}
        found["position"] = layers(
            config.position, sum(channels[name] for name in config.position_inputs)
        )
    if "features" in config.denoiser_inputs and encoded % 4:
        raise ValueError(f"feature: a number of outputs that 4 divides, not {encoded}")
    channels = {"pixels": 3, "coordinates": 3, "features": encoded // 4}
    found["denoiser"] = layers(
        config.denoiser, sum(channels[name] for name in config.denoiser_inputs)
    )
    _expect("denoiser", found["denoiser"][-1].outputs, RESIDUAL_CHANNELS)
    if config.position_inputs:
        weighted = found["denoiser"][config.attention].outputs
        _expect("position", found["position"][-1].outputs, weighted)
    return found


def _expect(name: str, outputs: int, due: int) -> None:
    if outputs != due:
        raise ValueError(f"{name}: its last layer must have {due} outputs, not {outputs}")


def uses_features(config: Config) -> bool:
    """Whether the blocks of the base codec have any part in it."""
    return isinstance(config, UpsamplerConfig) and (
        "features" in (*config.position_inputs, *config.denoiser_inputs)
    )


def scale(config: Config) -> int:
    """How many times smaller than the clip, along each side, its base is."""
    return 2 if isinstance(config, UpsamplerConfig) else 1


def parameter_shapes(config: Config) -> dict[str, dict[str, tuple[int, ...]]]:
    """{network: {array: shape}} of folded networks, in the order in which a file carries them.

    Layer i has weights "w{i}" and, where it was normalized, one "shift{i}" per input channel.
    """
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, own in networks(config).items():
        arrays: dict[str, tuple[int, ...]] = {}
        for i, layer in enumerate(own):
            arrays[f"w{i}"] = layer.weights
            if layer.normalized:
                arrays[f"shift{i}"] = (layer.inputs,)
        shapes[name] = arrays
    return shapes


def check_base(shapes: dict[str, dict], config: Config) -> None:
    """Raises UserError unless a base, {network: {array: shape}}, has those of a configuration.

    It may have the mean and the deviation of each layer's input beside them.
    """
    own = {
        name: {a: s for a, s in arrays.items() if not a.startswith(("mean", "deviation"))}
        for name, arrays in shapes.items()
    }
    if own != parameter_shapes(config):
        raise UserError("the base has other networks than this: another preset or --set")


def is_shift(name: str) -> bool:
    """Whether an array is added rather than multiplied."""
    return name.rpartition("/")[2].startswith("shift")
