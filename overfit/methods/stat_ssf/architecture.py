"""Shapes of the codec's arrays. Layers are those of the released code.

Three parts, each an autoencoder with a hyperprior: `intra`, whole frames; `motion`, w; `residual`,
v. Beside them `transform`, a network at full resolution, in the variants that have one.
"""

from overfit.coding.laplace import SYMBOLS
from overfit.methods.stat_ssf.config import StatSsfConfig
from overfit.nn import factorized

MULTIPLE = 64  # sides of what is coded: four halvings to the latents, two more to the hyper-latents
LATENT_STRIDE, HYPER_STRIDE = 16, 64

Shapes = dict[str, dict[str, tuple[int, ...]]]  # {network: {array: shape}}


def parts(config: StatSsfConfig) -> tuple[str, ...]:
    return ("intra", "motion", "residual") if config.transform.motion else ("intra", "residual")


def _layers(*sizes: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """Of layers (taps, in, out): w0 [out, taps * in], b0 [out], ..."""
    arrays: dict[str, tuple[int, ...]] = {}
    for i, (taps, inputs, outputs) in enumerate(sizes):
        arrays |= {f"w{i}": (outputs, taps * inputs), f"b{i}": (outputs,)}
    return arrays


def motion_outputs(config: StatSsfConfig) -> int:
    """Of the last layer of the motion's synthesis: a flow, or what the network gets."""
    return 6 if config.transform.network else 3


def is_scaled(config: StatSsfConfig) -> bool:
    """Whether the motion's synthesis has a layer for the scale, beside that for the flow."""
    return config.transform.scale and not config.transform.network


def is_structured(part: str, config: StatSsfConfig) -> bool:
    return part == "residual" and config.entropy.structured and config.transform.motion


def parameter_shapes(config: StatSsfConfig) -> Shapes:
    """Of everything in a base."""
    (a, b, c), m, h = (
        config.transform.widths,
        config.transform.latents,
        config.transform.hyper_channels,
    )
    rates = (len(config.rates.lmbdas), m)
    inputs = {"intra": 3, "motion": 6, "residual": 3}
    outputs = {"intra": 3, "motion": motion_outputs(config), "residual": 3}
    seen = {"intra": m, "motion": m, "residual": 2 * m if config.transform.motion else m}
    shapes: Shapes = {}
    for part in parts(config):
        shapes[f"{part}_analysis"] = _layers(
            (25, inputs[part], a), (25, a, b), (25, b, c), (25, c, m)
        )
        last = [(25, a, outputs[part])] * (2 if part == "motion" and is_scaled(config) else 1)
        shapes[f"{part}_synthesis"] = _layers((25, seen[part], c), (25, c, b), (25, b, a), *last)
        shapes[f"{part}_gains"] = {"encoder": rates, "decoder": rates}
        shapes[f"{part}_hyper_analysis"] = _layers((9, m, h), (25, h, h), (25, h, h))
        shapes[f"{part}_hyper_synthesis"] = (
            _layers((25, 2 * h, h), (25, h, h), (9, h + m, h), (9, h, 2 * m))
            if is_structured(part, config)
            else _layers((25, h, h), (25, h, h), (9, h, 2 * m))
        )
        tables = {"center": (h,), "frequencies": (h, SYMBOLS)}
        shapes[f"{part}_hyper_latents"] = factorized.shapes(h) | tables
    if config.transform.network:
        n = config.transform.network_width
        inputs_of_network = 3 + (motion_outputs(config) if config.transform.motion else 0)
        shapes["transform"] = _layers(
            (9, inputs_of_network, n), (9, n, n), (9, n, 6 if config.transform.scale else 3)
        )
    return shapes


def exponent(network: str) -> int:
    """Fractional bits that arrays have at most: 12 where symbols depend on them."""
    return 12 if network.endswith("hyper_synthesis") else 20


def padded(height: int, width: int) -> tuple[int, int]:
    return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE


# Networks that a decoder has no use for.
ENCODERS = ("_analysis", "_hyper_analysis")


def belongs(path: str, subset: str) -> bool:
    """Whether a file with that subset may change an array: `none`, `subset`, `decoder` or `all`."""
    network, name = path.split("/")
    if network.endswith(ENCODERS) or name == "encoder" or network.endswith("_hyper_latents"):
        return False
    synthesis = not network.endswith("_hyper_synthesis")
    last = name in ("decoder", "w3", "w4") or (network == "transform" and name == "w2")
    return {
        "none": False,
        "subset": synthesis and (last or name.startswith("b")),
        "decoder": synthesis,
        "all": True,
    }[subset]
