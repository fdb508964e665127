"""The sections of a file of the codec with global reference. docs/reference.md specifies them.

header: size and choices. networks: changes of the receiver's parameters, empty for none. latents:
hyper-latents, then latents.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from overfit import settings
from overfit.bases.base import Base
from overfit.coding import integer_layers, laplace, update_prior
from overfit.coding.container import read_varint, write_varint
from overfit.coding.parameters import Change, Prior, Quantized
from overfit.errors import UserError
from overfit.methods import pretrained
from overfit.methods.reference import latent_coding, networks
from overfit.methods.reference.architecture import (
    HYPER_STRIDE,
    LATENT_STRIDE,
    order,
    padded,
    parameter_shapes,
)
from overfit.methods.reference.complexity import macs
from overfit.methods.reference.config import ReferenceConfig
from overfit.nn import layers
from overfit.nn.gains import RATE_UNITS, gains

MAX_SIDE, MAX_PIXELS = 1 << 14, 1 << 23  # the search grows with the square of the pixels
_ORDERS = ("wavefront", "raster")
# What a file may change, in the order of its code.
SUBSETS = ("none", "igsdn", "last", "igsdn+last", "adapter", "all")
_ENCODER = ("analysis", "hyper_analysis")  # networks that a decoder has no use for


class Code(NamedTuple):
    """What a file carries; with its base it is a whole model."""

    config: ReferenceConfig
    size: tuple[int, int]  # rows, columns of the image
    grey: bool
    rate: int  # in 1 / RATE_UNITS
    subset: str  # of SUBSETS
    changes: dict[str, Change]  # of that subset
    y: np.ndarray  # int64 [latents, rows, columns]
    z: np.ndarray | None  # int64 [hyper_width, rows, columns]


def configuration(base: Base | None) -> ReferenceConfig:
    """What a base was trained for; raises UserError for none, and for a damaged one."""
    return pretrained.configuration(base, ReferenceConfig(), parameter_shapes, "reference")


def belongs(path: str, subset: str) -> bool:
    """Whether a file with that subset may change an array."""
    network, name = path.split("/")
    kind = name.rstrip("0123456789")
    igsdn = network == "synthesis" and kind in ("beta", "gamma", "nu", "tau")
    last = path in ("synthesis/w3", "synthesis/b3")
    return {
        "none": False,
        "igsdn": igsdn,
        "last": last,
        "igsdn+last": igsdn or last,
        "adapter": path == "gains/decoder" or (network == "synthesis" and kind == "b"),
        "all": network not in _ENCODER
        and path != "gains/encoder"
        and (network != "hyper_latents" or name in ("mean", "log2_scale")),
    }[subset]


def changeable(subset: str, base: Base) -> dict[str, Prior]:
    """The arrays that a file with that subset may change."""
    return {path: prior for path, prior in base.arrays.items() if belongs(path, subset)}


def arrays(code: Code, base: Base) -> dict[str, dict[str, Quantized]]:
    """{network: {array}} of the model of a file."""
    found: dict[str, dict[str, Quantized]] = {}
    for path, prior in base.arrays.items():
        network, name = path.split("/")
        change = code.changes.get(path)
        array = prior.center if change is None else change.absolute()
        found.setdefault(network, {})[name] = array
    return found


def check_size(height: int, width: int) -> None:
    """Raises UserError for an image that a file cannot hold."""
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise UserError(
            f"the image has {width}x{height} pixels; a file of method reference holds up to "
            f"{MAX_SIDE} on a side and {MAX_PIXELS} in all: cut it into parts"
        )


Shape = tuple[int, int, int]


def shapes(size: tuple[int, int], config: ReferenceConfig) -> tuple[Shape, Shape]:
    """Shapes of the latents and of the hyper-latents."""
    rows, columns = padded(*size)
    return (
        (config.transform.latents, rows // LATENT_STRIDE, columns // LATENT_STRIDE),
        (config.entropy.hyper_width, rows // HYPER_STRIDE, columns // HYPER_STRIDE),
    )


# -- Writing and reading ---------------------------------------------------------------------------


def _write_header(code: Code) -> bytes:
    height, width = code.size
    choices = (
        int(code.grey) | _ORDERS.index(code.config.order) << 1 | SUBSETS.index(code.subset) << 2
    )
    return write_varint(width) + write_varint(height) + bytes([choices, code.rate])


def _read_header(data: bytes, base: Base | None) -> Code:
    """What the header says, without changes and latents."""
    config = configuration(base)
    width, position = read_varint(data, 0)
    height, position = read_varint(data, position)
    try:
        check_size(height, width)
    except UserError:
        raise UserError(f"the file's header is damaged: it says {width}x{height} pixels") from None
    if len(data) < position + 2:
        raise UserError("the file's header is too short: it is truncated or damaged")
    choices, rate = data[position], data[position + 1]
    if choices >> 2 >= len(SUBSETS) or rate > RATE_UNITS * (len(config.rates.lmbdas) - 1):
        raise UserError("the file's header names an option that this version does not know")
    config = settings.override(config, {"order": _ORDERS[choices >> 1 & 1]})
    empty = np.zeros(0, np.int64)
    return Code(
        config, (height, width), bool(choices & 1), rate, SUBSETS[choices >> 2], {}, empty, None
    )


def _code_latents(coder, code: Code, base: Base, traced: bool = False):
    """(latents, hyper-latents, trace): those of the code written, or read where it has none."""
    model = arrays(code, base)
    exact = integer_layers.arithmetic(model)
    y_shape, z_shape = shapes(code.size, code.config)
    writing = code.y.size > 0
    z = features = None
    if code.config.entropy.hyperprior:
        z = latent_coding.code_hyper_latents(
            coder, code.z if writing else None, z_shape, model["hyper_latents"]
        )
        features = latent_coding.hyper_features(exact, z)
    places = order(y_shape[1], y_shape[2], code.config.order, code.config.entropy.context)
    y, trace = latent_coding.code_latents(
        coder, code.y if writing else None, y_shape, exact, features, places, code.config, traced
    )
    return y, z, trace


def write(code: Code, base: Base) -> dict[str, bytes]:
    """{section: bytes}, in file order."""
    check_size(*code.size)
    changes = laplace.Encoder()
    if code.subset != "none":
        update_prior.code_changes(changes, code.changes, changeable(code.subset, base))
    latents = laplace.Encoder()
    _code_latents(latents, code, base)
    return {
        "header": _write_header(code),
        "networks": changes.finish(),
        "latents": latents.finish(),
    }


def _read_changes(sections: list[bytes], base: Base | None) -> Code:
    """All but the latents: what `info` needs."""
    code = _read_header(sections[0], base)
    assert base is not None
    if code.subset == "none":
        return code
    coder = laplace.Decoder(sections[1])
    changes = update_prior.code_changes(coder, None, changeable(code.subset, base))
    return code._replace(changes=changes)


def read(sections: list[bytes], base: Base | None) -> Code:
    """The inverse of `write`. Raises UserError on damaged data."""
    code = _read_changes(sections, base)
    assert base is not None
    y, z, _ = _code_latents(laplace.Decoder(sections[2]), code, base)
    return code._replace(y=y, z=z)


class _Nowhere:
    """A coder that keeps nothing."""

    def code(self, values, location, scale, family):
        return values

    def code_rows(self, values, rows):
        return values

    symbols = code_rows


def trace(code: Code, base: Base) -> latent_coding.Trace:
    """What the entropy model saw when the file was coded."""
    return _code_latents(_Nowhere(), code, base, True)[2]


# -- Pixels ----------------------------------------------------------------------------------------


def floats(code: Code, base: Base) -> dict[str, dict[str, np.ndarray]]:
    """The networks of the synthesis as float32."""
    model = arrays(code, base)
    return {
        network: {name: array.value() for name, array in model[network].items()}
        for network in ("synthesis", "gains")
    }


def reconstruct(code: Code, base: Base) -> np.ndarray:
    """uint8 [height, width, 3], or [height, width] of a grey image."""
    model = floats(code, base)
    scaled = code.y.astype(np.float32) * gains(model["gains"]["decoder"], code.rate / RATE_UNITS)
    with np.errstate(all="ignore"):  # parameters of a damaged file may overflow: any image will do
        image = networks.synthesis(layers.floats(model), model, scaled)
    height, width = code.size
    image = np.nan_to_num(image[:, :height, :width])
    if code.grey:
        image = image.mean(axis=0, keepdims=True)
    pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return pixels[0] if code.grey else np.ascontiguousarray(pixels.transpose(1, 2, 0))


def describe(sections: list[bytes], base: Base | None = None) -> dict[str, Any]:
    """What the header and the changes say, for `overfit info`."""
    code = _read_changes(sections, base)
    height, width = code.size
    return {
        "width": width,
        "height": height,
        "frames": 1,
        "channels": 1 if code.grey else 3,
        "macs_per_pixel": macs((3, height, width), code.config)["total"],
        "params": sum(math.prod(change.k.shape) for change in code.changes.values()),
        "adapted": code.subset,
        "rate": code.rate / RATE_UNITS,
        "order": code.config.order,
        "context": code.config.entropy.context,
    }
