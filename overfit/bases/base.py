"""A base: fitted networks that instances start from and are coded as changes of.

Its file, NAME.ovb, is read by both sides and must be the same on both: it is known by the hash of
its bytes, and a released one never changes.

    "OVB" | version (1 byte) | CRC-32 of all that follows (4, big-endian)
    | length of the description as a varint | the description (JSON) | the arrays (zlib)

The description has the method, the configuration that the networks belong to, the lambdas that they
were learned for, a card for people, and for each array its name, shape, exponent, spread and the
bytes per integer. Nothing in it is executed.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from overfit.coding.container import read_varint, write_varint
from overfit.coding.parameters import Prior, Quantized, quantize
from overfit.errors import UserError

MAGIC, VERSION = b"OVB", 1
_PREFIX = 8  # magic, version, CRC
MAX_BYTES = 1 << 26  # of the arrays, unpacked: bounds what a damaged file can ask for
ENCODER = "encoder"  # what its arrays are named by that no file and no decoder needs
_BITS = 12  # of the integers in a whole codec: a step is a two-thousandth of the largest
_WIDTHS = {1: "<i1", 2: "<i2", 4: "<i4"}  # bytes per integer -> NumPy's name of the type


class Base(NamedTuple):
    """Networks, priors and where they come from."""

    method: str
    settings: dict[str, Any]  # {dotted path: value} of the configuration that it was learned with
    arrays: dict[str, Prior]  # by name, as the method names them: "entropy/w0"
    card: dict[str, Any]  # data, steps, held-out curve: for people
    lmbdas: tuple[float, float] | None = None  # learned for those between; None: not known

    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """{network: {array: shape}} of what files carry changes of."""
        found: dict[str, dict] = {}
        for path, prior in self.arrays.items():
            network, _, name = path.partition("/")
            found.setdefault(network, {})[name] = prior.center.k.shape
        found.pop(ENCODER, None)
        return found

    def network(self, name: str) -> dict[str, Prior]:
        """The arrays of a network: {"w0": ...} of {"entropy/w0": ...}."""
        start = f"{name}/"
        return {
            path.removeprefix(start): prior
            for path, prior in self.arrays.items()
            if path.startswith(start)
        }


def identity(data: bytes) -> str:
    """The hash by which the file of a base is known: 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def pack(base: Base) -> bytes:
    """The file of a base."""
    arrays, values = [], []
    for name, (center, spread) in base.arrays.items():
        width = next(w for w, kind in _WIDTHS.items() if _fits(center.k, kind))
        arrays.append([name, list(center.k.shape), center.e, spread, width])
        values.append(center.k.astype(_WIDTHS[width]).tobytes())
    description = {
        "method": base.method,
        "settings": base.settings,
        "card": base.card,
        "arrays": arrays,
    }
    if base.lmbdas is not None:
        description["lmbdas"] = list(base.lmbdas)
    text = json.dumps(description, sort_keys=True, separators=(",", ":")).encode()
    content = write_varint(len(text)) + text + zlib.compress(b"".join(values), 9)
    return MAGIC + bytes([VERSION]) + zlib.crc32(content).to_bytes(4, "big") + content


def _fits(values: np.ndarray, kind: str) -> bool:
    limits = np.iinfo(kind)
    return bool(values.min(initial=0) >= limits.min and values.max(initial=0) <= limits.max)


def unpack(data: bytes) -> Base:
    """The base in a file's bytes.

    Raises:
      UserError: they are no base, of a newer version, or damaged.
    """
    if len(data) < _PREFIX or data[:3] != MAGIC:
        raise UserError("this is no base (it does not start with 'OVB')")
    if data[3] != VERSION:
        raise UserError(
            f"this base has format version {data[3]}, this program reads {VERSION}: update overfit"
        )
    content = data[_PREFIX:]
    if zlib.crc32(content).to_bytes(4, "big") != data[4:_PREFIX]:
        raise UserError("the base is damaged or truncated (its checksum does not match)")
    try:
        length, start = read_varint(content, 0)
        description = json.loads(content[start : start + length])
        inflate = zlib.decompressobj()
        values = inflate.decompress(content[start + length :], MAX_BYTES)
        if not inflate.eof:
            raise ValueError("its arrays are cut off, or too large")
        return Base(
            str(description["method"]),
            dict(description["settings"]),
            _arrays(description["arrays"], values),
            dict(description["card"]),
            _range(description.get("lmbdas")),
        )
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
        raise UserError(f"the base is damaged: {error}") from error


def _range(lmbdas: Any) -> tuple[float, float] | None:
    if lmbdas is None:
        return None
    low, high = map(float, lmbdas)
    if not 0 < low <= high:
        raise ValueError(f"its lambdas cannot be {lmbdas}")
    return low, high


def _arrays(listed: list, values: bytes) -> dict[str, Prior]:
    arrays, position = {}, 0
    for name, shape, exponent, spread, width in listed:
        count = math.prod(shape) if all(isinstance(n, int) and n >= 0 for n in shape) else -1
        size = count * width
        if not 0 <= size <= len(values) - position or not 0 <= exponent <= 64:
            raise ValueError(f"array '{name}' is not what its description says")
        k = np.frombuffer(values, _WIDTHS[width], count, position)
        arrays[name] = Prior(Quantized(k.astype(np.int64).reshape(shape), exponent), int(spread))
        position += size
    return arrays


def quantized(
    networks: dict[str, dict[str, np.ndarray]], exponent: Callable[[str], int]
) -> dict[str, Prior]:
    """The arrays of a base that is a whole codec, in about `_BITS` bits each.

    exponent(network): the finest step that its arrays may have is 2^-exponent. Changes of these are
    not coded under Laplace distributions: the spread is 0.
    """
    arrays = {}
    for network, members in networks.items():
        for name, array in members.items():
            largest = float(np.abs(array).max(initial=1e-9))
            e = min(exponent(network), int(np.floor(np.log2((2 ** (_BITS - 1) - 1) / largest))))
            arrays[f"{network}/{name}"] = Prior(quantize(array, max(e, 0)).absolute(), 0)
    return arrays


class Start(NamedTuple):
    """A base as a fit sees it."""

    networks: dict[str, dict[str, np.ndarray]]  # float32
    scales: dict[str, dict[str, np.ndarray]]  # shape=(), float32: Laplace, of the changes
    encoder: dict[str, np.ndarray] = {}  # float32; what latents start by, as the method has it


def start(base: Base) -> Start:
    networks: dict[str, dict] = {}
    scales: dict[str, dict] = {}
    for path, prior in base.arrays.items():
        network, name = path.split("/")
        networks.setdefault(network, {})[name] = prior.center.value()
        scale = np.float32(2.0 ** (prior.spread / 4 - 16))
        scales.setdefault(network, {})[name] = np.asarray(scale)
    encoder = networks.pop(ENCODER, {})
    scales.pop(ENCODER, None)
    return Start(networks, scales, encoder)
