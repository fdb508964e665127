"""A second decoder of .ovf files, written from docs/format.md alone: slow, plain, standard library.

    python tests/reference_decoder.py FILE.ovf OUT.ppm

Section numbers are those of docs/format.md. Nothing here comes from the package, so that a mistake
in either shows as a difference.
"""

import functools
import math
import sys
import zlib
from fractions import Fraction
from typing import NamedTuple

FULL = (1 << 24) - 64  # what a row of the table sums to before 1 is added to each entry
MASK = (1 << 64) - 1


class Damaged(Exception):
    """The file must be refused (section 10)."""


def require(condition: bool, what: str) -> None:
    if not condition:
        raise Damaged(what)


def shift(x: int, n: int) -> int:
    return (x + (1 << (n - 1))) >> n


def clamp(x, low, high):
    return min(max(x, low), high)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


# -- Sections 2 and 3: container and header --------------------------------------------------------


def varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for i in range(5):
        require(position < len(data), "a varint runs over the end")
        byte = data[position]
        position += 1
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, position
    raise Damaged("a varint is too long")


def sections(data: bytes) -> list[bytes]:
    """[header, networks, latents] of a c3 file."""
    require(len(data) >= 8 and data[:3] == b"OVF", "no .ovf file")
    require(data[3] >> 4 == 1, "not version 1")
    crc = zlib.crc32(data[:4] + data[8:])
    require(crc == int.from_bytes(data[4:8], "big"), "wrong CRC")
    require(data[3] & 15 == 1, "not a c3 file")
    return split(data[8:])


def split(data: bytes) -> list[bytes]:
    header, position = varint(data, 0)
    networks, position = varint(data, position)
    require(position + header + networks <= len(data), "a section is too long")
    body = data[position:]
    return [body[:header], body[header : header + networks], body[header + networks :]]


class Clip(NamedTuple):
    size: list[int]  # frames, height, width
    rate: Fraction
    is_420: bool
    patches: list[tuple[list[int], list[int], list[bytes]]]  # start, size, sections


def clip(data: bytes) -> Clip:
    """Section 2.1; every patch must be intact."""
    require(data[:4] == b"OVF\x10", "no clip")
    length, position = varint(data, 8)
    end = position + length
    crc = zlib.crc32(data[:4] + data[8:end])
    require(end <= len(data) and crc == int.from_bytes(data[4:8], "big"), "wrong CRC of the head")
    numbers = []
    while position < end:
        number, position = varint(data, position)
        numbers.append(number)
    require(
        len(numbers) >= 9 and min(numbers[1:9]) >= 1 and numbers[0] in (1, 9), "impossible head"
    )
    size, side, patches, is_420 = numbers[1:4], numbers[6:9], [], numbers[0] == 9
    cut = [a for n, a in zip(size[1:], side[1:], strict=True) if a < n]
    require(not is_420 or all(a % 2 == 0 for a in cut), "a patch begins between chroma samples")
    starts = [
        [t, y, x]
        for t in range(0, size[0], side[0])
        for y in range(0, size[1], side[1])
        for x in range(0, size[2], side[2])
    ]
    require(len(numbers) == 9 + len(starts), "another number of patches")
    for start, length in zip(starts, numbers[9:], strict=True):
        body = data[end + 4 : end + length]
        crc = int.from_bytes(data[end : end + 4], "big")
        require(length >= 4 and zlib.crc32(body) == crc, "wrong CRC of a patch")
        inside = [min(a, n - b) for a, n, b in zip(side, size, start, strict=True)]
        patches.append((start, inside, split(body)))
        end += length
    return Clip(size, Fraction(numbers[4], numbers[5]), is_420, patches)


class Header(NamedTuple):
    is_clip: bool
    frames: int
    width: int
    height: int
    channels: int
    num_grids: int
    first_octave: int
    coarse_to_fine: int
    q: int  # quantization step * 250
    context: int
    previous: int  # radius, -1 for none
    per_grid: str
    entropy_relu: int
    log_scale_shift: int
    synthesis_relu: int
    upsampling: str
    residual_layers: int
    entropy_widths: list[int]
    synthesis_widths: list[int]
    frame: int = -1  # radius, -1 for none
    mask: int = 0
    per_frame: int = 1
    places: tuple[tuple[int, int], ...] = ()
    is_420: bool = False
    margin: tuple[int, int] = (0, 0)  # rows and columns of the canvas beyond a frame's
    corners: tuple[tuple[int, int], ...] = ()  # of the frames on it

    def canvas(self) -> tuple[int, int]:
        return self.height + self.margin[0], self.width + self.margin[1]

    def octave(self, grid: int) -> int:
        return self.first_octave + grid

    def count(self, grid: int) -> int:
        """Frames of a grid."""
        return -(-self.frames >> self.octave(grid))

    def rows(self, grid: int) -> int:
        return -(-self.canvas()[0] >> self.octave(grid))

    def columns(self, grid: int) -> int:
        return -(-self.canvas()[1] >> self.octave(grid))

    def order(self) -> list[int]:
        grids = list(range(self.num_grids))
        return grids[::-1] if self.coarse_to_fine else grids

    def frame_taps(self, grid: int) -> list[tuple[int, int]]:
        if not self.mask:
            return previous_taps(self.frame)
        if grid >= len(self.places):
            return []
        dy, dx = self.places[grid]
        return [(dy + i, dx + j) for i in range(self.mask) for j in range(self.mask)]


def parse_header(data: bytes) -> Header:
    width, position = varint(data, 0)
    height, position = varint(data, position)
    frames, is_clip = 1, width == height == 0
    if is_clip:
        frames, position = varint(data, position)
        height, position = varint(data, position)
        width, position = varint(data, position)
    require(all(1 <= n <= 1 << 14 for n in (frames, height, width)), "impossible size")
    require(frames * width * height <= 1 << 25, "impossible size")
    bits = "".join(f"{byte:08b}" for byte in data[position:])
    place = 0

    def take(count: int) -> int:
        nonlocal place
        require(place + count <= len(bits), "the header is too short")
        place += count
        return int(bits[place - count : place] or "0", 2)

    channels = 3 if take(1) else 1
    num_grids, first_octave, coarse_to_fine, q = take(4), take(4), take(1), take(8)
    require(num_grids >= 1 and 1 <= q <= 250, "a field is out of range")
    context, previous, per_grid = take(3), take(3) - 1, take(2)
    require(per_grid < 3, "unknown per_grid")
    entropy_relu, log_scale_shift, synthesis_relu = take(1), take(4), take(1)
    upsampling, residual_layers = take(3), take(3)
    require(upsampling < 5, "unknown upsampling")
    entropy_depth, synthesis_depth = take(3), take(3)
    entropy_widths = [take(6) + 1 for _ in range(entropy_depth)]
    synthesis_widths = [take(6) + 1 for _ in range(synthesis_depth)]
    more = ()
    if is_clip:
        frame, mask, mask_grids, per_frame = take(6) - 1, take(3), take(4), take(1)
        moves, samples, previous = previous + 1 >= 4, (previous + 1) % 4, -1
        require(samples < 2 and upsampling != 4 and mask_grids >= 1, "not for clips")
        is_420 = samples == 1
        require(not is_420 or channels == 3, "4:2:0 of one channel")
        require(frame <= 62 if mask else frame <= 6, "too wide a window")
        require(not mask or (mask <= 2 * frame + 1 and per_grid == 2), "impossible mask")
        masks = min(mask_grids, num_grids) if mask else 0
        places = tuple((take(7) - 63, take(7) - 63) for _ in range(masks))
        inside = all(-frame <= n <= frame + 1 - mask for place in places for n in place)
        require(inside, "a mask outside its window")
        margin, corners = (0, 0), ()
        if moves:
            margin = take(10), take(10)
            rows, columns = height + margin[0], width + margin[1]
            require(any(margin) and max(rows, columns) <= 1 << 14, "impossible canvas")
            require(frames * rows * columns <= 1 << 25, "impossible canvas")
            lengths = [n.bit_length() for n in margin]
            corners = tuple((take(lengths[0]), take(lengths[1])) for _ in range(frames))
            inside = all(a <= b for corner in corners for a, b in zip(corner, margin, strict=True))
            require(inside, "a frame outside its canvas")
        more = frame, mask, per_frame, places, is_420, margin, corners
    return Header(
        is_clip, frames, width, height, channels, num_grids, first_octave, coarse_to_fine, q,
        context, previous, ("shared", "film", "separate")[per_grid], entropy_relu,
        log_scale_shift, synthesis_relu,
        ("bilinear", "nearest", "bicubic", "lanczos3", "learned")[upsampling], residual_layers,
        entropy_widths, synthesis_widths, *more,
    )  # fmt: skip


# -- Section 4: range coder ------------------------------------------------------------------------


class RangeDecoder:
    def __init__(self, data: bytes):
        self.data, self.position = data, 0
        self.low, self.range = 0, MASK
        self.point = self.word() << 32
        self.point |= self.word()
        self.bits_left = 64.0 + 32 * -(-len(data) // 4)  # section 10

    def word(self) -> int:
        word = self.data[self.position : self.position + 4]
        self.position += 4
        return int.from_bytes(word.ljust(4, b"\0"), "big")

    def decode(self, find) -> int:
        """find(quantile) gives (symbol, cumulative, frequency)."""
        unit = self.range >> 24
        quantile = ((self.point - self.low) & MASK) // unit
        require(quantile < 1 << 24, "no such quantile")
        symbol, cumulative, frequency = find(quantile)
        self.bits_left -= 24 - math.log2(frequency)
        require(self.bits_left >= 0, "more symbols than data")
        self.low = (self.low + unit * cumulative) & MASK
        self.range = unit * frequency
        if self.range < 1 << 32:
            self.low = (self.low << 32) & MASK
            self.range <<= 32
            self.point = (self.point << 32) & MASK | self.word()
        return symbol

    def uniform(self, n: int) -> int:
        if n == 1:
            return 0
        m = (1 << 24) // n

        def find(quantile):
            value = min(quantile // m, n - 1)
            return value, value * m, m if value < n - 1 else (1 << 24) - value * m

        return self.decode(find)


# -- Section 5: integers under a Laplace model -----------------------------------------------------


@functools.cache
def table() -> list[list[int]]:
    """2048 rows of 65 cumulatives."""

    def half_mass(near: float, far: float, b: float) -> float:  # 0 <= near < far, of one side
        return (math.exp(-near / b) - math.exp(-far / b)) / 2

    def mass(low: float, high: float, b: float) -> float:
        if low >= 0:
            return half_mass(low, high, b)
        if high <= 0:
            return half_mass(-high, -low, b)
        return half_mass(0, -low, b) + half_mass(0, high, b)

    rows, packed = [], bytearray()
    for i in range(64):
        for f in range(32):
            b, m = 2 ** (i / 8 - 6), f / 32 - 0.5
            p = [
                (1 - 2**-13) * mass(v - 0.5 - m, v + 0.5 - m, b)
                + 2**-13 * mass(v - 0.5 - m, v + 0.5 - m, 3)
                for v in range(-31, 32)
            ]
            t = [math.floor(x * FULL + 0.5) for x in [*p, 1 - math.fsum(p)]]
            t[t.index(max(t))] += FULL - sum(t)
            packed += b"".join(x.to_bytes(4, "big") for x in t)
            cumulative = [0]
            for x in t:
                cumulative.append(cumulative[-1] + x + 1)
            rows.append(cumulative)
    assert zlib.crc32(packed) == 0x8F976282
    return rows


def decode_list(coder: RangeDecoder, models: list[tuple[int, int]]) -> list[int]:
    """Integers under the models (location, scale index)."""
    places, coarse = [], []
    for location, s in models:
        base = (location + 16) // 32
        f = location - 32 * base + 16
        low_bits = max(s - 56, 0) // 8
        if low_bits:
            f = (f >> low_bits) + 16
        places.append((base, low_bits))
        row = table()[32 * (s - 8 * low_bits) + f]

        def find(quantile, row=row):
            symbol = next(j for j in range(64) if quantile < row[j + 1])
            return symbol, row[symbol], row[symbol + 1] - row[symbol]

        coarse.append(coder.decode(find) - 31)
    coarse = [escape(coder) if c == 32 else c for c in coarse]
    values = []
    for c, (base, low_bits) in zip(coarse, places, strict=True):
        low = coder.uniform(1 << low_bits)
        values.append((c << low_bits) + low - ((1 << low_bits) >> 1) + base)
    return values


def escape(coder: RangeDecoder) -> int:
    negative, zeros = coder.uniform(2), 0
    while coder.uniform(2) == 0:
        zeros += 1
        require(zeros <= 24, "an escape is too long")
    number = 1
    for _ in range(zeros):
        number = 2 * number + coder.uniform(2)
    return -(31 + number) if negative else 31 + number


# -- Section 6: parameters -------------------------------------------------------------------------


class Array(NamedTuple):
    shape: tuple[int, ...]
    k: list[int]  # row-major
    e: int

    def at(self, *index: int) -> int:
        flat = 0
        for i, size in zip(index, self.shape, strict=True):
            flat = flat * size + i
        return self.k[flat]


def causal_taps(c: int) -> list[tuple[int, int]]:
    return [(dy, dx) for dy in range(-c, 1) for dx in range(-c, c + 1) if dy < 0 or dx < 0]


def previous_taps(p: int) -> list[tuple[int, int]]:
    return [(dy, dx) for dy in range(-p, p + 1) for dx in range(-p, p + 1)]


def decode_parameters(data: bytes, header: Header) -> dict[str, dict[str, Array]]:
    def layers(sizes: list[int]) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(len(sizes) - 1):
            shapes[f"w{i}"] = (sizes[i + 1], sizes[i])
            shapes[f"b{i}"] = (sizes[i + 1],)
        return shapes

    grids, channels = header.num_grids, header.channels
    taps = len(causal_taps(header.context)) + len(previous_taps(header.previous))
    entropy = layers([taps, *header.entropy_widths, 2])
    if header.per_grid == "separate":
        entropy = {name: (grids, *shape) for name, shape in entropy.items()}
    if header.per_grid == "film":
        for i, width in enumerate(header.entropy_widths):
            entropy[f"scale{i}"] = entropy[f"shift{i}"] = (grids, width)
    if header.frame >= 0:
        shape = [*header.entropy_widths, 2][0], len(header.frame_taps(0))
        slices = (len(header.places) or grids,) if header.per_grid == "separate" else ()
        entropy["frame_w"] = (*slices, *shape)
    synthesis = layers([grids, *header.synthesis_widths, channels])
    for i in range(header.residual_layers):
        synthesis[f"residual_w{i}"] = (channels, (9 if header.per_frame else 27) * channels)
        synthesis[f"residual_b{i}"] = (channels,)
    if header.upsampling == "learned":
        synthesis["upsampling"] = (8, 8)

    coder = RangeDecoder(data)
    parameters: dict[str, dict[str, Array]] = {"entropy": {}, "synthesis": {}}
    for network, shapes in (("entropy", entropy), ("synthesis", synthesis)):
        for name, shape in shapes.items():
            e, r = coder.uniform(17), coder.uniform(104)
            k = decode_list(coder, [(0, 2 * r)] * math.prod(shape))
            if network == "entropy":
                require(all(abs(x) << (16 - e) <= 1 << 20 for x in k), "too large a parameter")
            parameters[network][name] = Array(shape, k, e)
    return parameters


# -- Section 7: latents ----------------------------------------------------------------------------


@functools.cache
def gelu_table() -> list[int]:
    def entry(j: int) -> int:
        x = (j - 8192) / 1024
        return math.floor(512 * x * (1 + math.tanh(inner(x))) + 0.5)

    entries = [entry(j) for j in range(16384)]
    packed = b"".join(x.to_bytes(4, "big", signed=True) for x in entries)
    assert zlib.crc32(packed) == 0xC7ED7C44
    return entries


def inner(x: float) -> float:
    return 0.7978845608028654 * (x + 0.044715 * x**3)


def integer_activation(z: int, relu: int) -> int:
    if relu:
        return max(z, 0)
    return gelu_table()[clamp(z, -8192, 8191) + 8192] + max(z - 8191, 0)


def integer_weights(n_in: int, n_out: int) -> list[list[int]]:
    reach, rows = 2 * max(n_in, n_out), []
    for i in range(n_out):
        center = (2 * i + 1) * n_in - n_out
        u = [max(reach - abs(2 * t * n_out - center), 0) for t in range(n_in)]
        rows.append([(x * 8192 + sum(u)) // (2 * sum(u)) for x in u])
    return rows


def resized(plane: list[list[int]], rows: int, columns: int) -> list[list[int]]:
    """With 6 fractional bits."""
    a, b = integer_weights(len(plane), rows), integer_weights(len(plane[0]), columns)
    wide = [[dot(row, line) for row in b] for line in plane]
    return [[shift(dot(row, column), 18) for column in zip(*wide, strict=True)] for row in a]


class EntropyNetwork:
    """The integer network of one grid."""

    def __init__(self, arrays: dict[str, Array], header: Header, grid: int):
        self.header = header
        depth = len(header.entropy_widths) + 1
        slices = header.per_grid == "separate"

        def fixed(name: str, bits: int, sliced: bool) -> list[int]:
            array = arrays[name]
            values = [k << (bits - array.e) for k in array.k]
            if not sliced:
                return values
            size = math.prod(array.shape[1:])
            return values[grid * size : (grid + 1) * size]

        self.layers = []
        for i in range(depth):
            bias = fixed(f"b{i}", 26 if i else 32, slices)
            flat = fixed(f"w{i}", 16, slices)
            fan_in = len(flat) // len(bias)
            weights = [flat[o * fan_in : (o + 1) * fan_in] for o in range(len(bias))]
            if i == 0 and header.frame_taps(grid):
                more = fixed("frame_w", 16, slices)
                n = len(more) // len(bias)
                weights = [row + more[o * n : (o + 1) * n] for o, row in enumerate(weights)]
            film = None
            if header.per_grid == "film" and i < depth - 1:
                film = fixed(f"scale{i}", 16, True), fixed(f"shift{i}", 26, True)
            self.layers.append((weights, bias, film))
        q = header.q
        self.step, self.reciprocal = (q * 65536 + 125) // 250, 250 * 65536 // q
        log2_step = math.log2(q / 250)
        self.offset = math.floor(8 * (6 - log2_step) * 2**24 + 0.5)
        self.offset -= 94548 * header.log_scale_shift * 1024
        self.largest = math.floor(8 * (6 + math.log2(150) - log2_step))

    def model(self, inputs: list[int]) -> tuple[int, int]:
        """(location, scale index) from inputs with 6 fractional bits."""
        h = [clamp(x, -64 * 2047, 64 * 2047) for x in inputs]
        for i, (weights, bias, film) in enumerate(self.layers):
            sums = [dot(row, h) for row in weights]
            if i == 0:
                z = [shift(self.step * x + 64 * b, 28) for x, b in zip(sums, bias, strict=True)]
            else:
                z = [shift(x + b, 16) for x, b in zip(sums, bias, strict=True)]
            h = z = [clamp(x, -(1 << 25), 1 << 25) for x in z]
            if i < len(self.layers) - 1:
                if film:
                    z = [shift(s * x + t, 16) for s, x, t in zip(film[0], z, film[1], strict=True)]
                    z = [clamp(x, -(1 << 25), 1 << 25) for x in z]
                h = [integer_activation(x, self.header.entropy_relu) for x in z]
        s = shift(self.offset - 94548 * h[1], 24)
        return shift(h[0] * self.reciprocal, 21), clamp(s, 0, self.largest)


def steps(header: Header) -> list[dict[int, int]]:
    """{grid: its frame} of every step."""
    total = header.frames
    found: list[dict[int, int]] = [{} for _ in range(total)]
    for grid in range(header.num_grids):
        n = header.count(grid)
        for j in range(n):
            found[max(0, (total * (2 * j - 1) - n) // (2 * n) + 1)][grid] = j
    return found


def decode_latents(data: bytes, header: Header, arrays: dict[str, Array]):
    """Planes [frame][row][column], finest first."""
    coder, order = RangeDecoder(data), header.order()
    alone = header.per_grid != "shared" or header.previous >= 0
    groups = [[grid] for grid in order] if alone else [order]
    networks = [EntropyNetwork(arrays, header, group[0]) for group in groups]
    planes = [
        [[[0] * header.columns(g) for _ in range(header.rows(g))] for _ in range(header.count(g))]
        for g in range(len(order))
    ]
    for step in steps(header):
        for group, network in zip(groups, networks, strict=True):
            now = {grid: step[grid] for grid in group if grid in step}
            if now:
                decode_group(coder, now, planes, network)
    return planes


def decode_group(coder: RangeDecoder, now: dict[int, int], planes, network: EntropyNetwork) -> None:
    """The frames `now` = {grid: frame} of grids that are coded together."""
    header, order = network.header, network.header.order()
    own, other = causal_taps(header.context), previous_taps(header.previous)

    def read(plane, y, x) -> int:
        return plane[y][x] if 0 <= y < len(plane) and 0 <= x < len(plane[0]) else 0

    first, previous = next(iter(now)), [[0]]
    if header.previous >= 0 and first != order[0]:
        before = planes[order[order.index(first) - 1]][0]
        previous = resized(before, header.rows(first), header.columns(first))

    def inputs(grid: int, y: int, x: int) -> list[int]:
        frame = now[grid]
        earlier = planes[grid][frame - 1] if frame else [[0]]
        return (
            [64 * read(planes[grid][frame], y + dy, x + dx) for dy, dx in own]
            + [read(previous, y + dy, x + dx) for dy, dx in other]
            + [64 * read(earlier, y + dy, x + dx) for dy, dx in header.frame_taps(grid)]
        )

    slope = header.context + 1
    for t in range(max(header.columns(g) + slope * (header.rows(g) - 1) for g in now)):
        places = [
            (grid, y, t - slope * y)
            for grid in now
            for y in range(header.rows(grid))
            if 0 <= t - slope * y < header.columns(grid)
        ]
        models = [network.model(inputs(*place)) for place in places]
        for (grid, y, x), value in zip(places, decode_list(coder, models), strict=True):
            require(abs(value) <= 1 << 20, "a latent is out of range")
            planes[grid][now[grid]][y][x] = value


# -- Section 8: pixels -----------------------------------------------------------------------------


def activation(x: float, relu: int) -> float:
    return max(x, 0.0) if relu else 0.5 * x * (1 + math.tanh(inner(x)))


def sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


def kernel(name: str, x: Fraction) -> float:
    r = abs(float(x))
    if name == "nearest":
        return 1.0 if Fraction(-1, 2) < x <= Fraction(1, 2) else 0.0
    if name == "bilinear":
        return max(0.0, 1 - r)
    if name == "bicubic":
        if r < 1:
            return 1.25 * r**3 - 2.25 * r**2 + 1
        return -0.75 * r**3 + 3.75 * r**2 - 6 * r + 3 if r < 2 else 0.0
    return sinc(r) * sinc(r / 3) if r < 3 else 0.0


def interpolation(n_in: int, n_out: int, name: str) -> list[list[float]]:
    rows = []
    for i in range(n_out):
        center = Fraction((2 * i + 1) * n_in, 2 * n_out) - Fraction(1, 2)
        a = [kernel(name, t - center) for t in range(n_in)]
        rows.append([x / sum(a) for x in a])
    return rows


def doubled(p: list[list[float]], k: list[list[float]], rows: int, columns: int):
    n, m = len(p), len(p[0])

    def near(r: int) -> list[tuple[int, int]]:  # (t, index into the kernel)
        return [(t, r - 2 * t + 3) for t in range(r // 2 - 4, r // 2 + 5) if 0 <= r - 2 * t + 3 < 8]

    return [
        [
            sum(
                k[u][v] * p[clamp(t, 0, n - 1)][clamp(s, 0, m - 1)]
                for t, u in near(y)
                for s, v in near(x)
            )
            for x in range(columns)
        ]
        for y in range(rows)
    ]


def upsampled(plane, grid: int, header: Header, arrays) -> list[list[float]]:
    height, width = header.canvas()
    p = [[value * header.q / 250 for value in line] for line in plane]
    if header.upsampling == "learned":
        array = arrays["upsampling"]
        k = [[array.at(u, v) / 2**array.e for v in range(8)] for u in range(8)]
        for octave in range(header.octave(grid) - 1, -1, -1):
            p = doubled(p, k, -(-height >> octave), -(-width >> octave))
        return p
    v = interpolation(len(p), height, header.upsampling)
    h = interpolation(len(p[0]), width, header.upsampling)
    wide = [[dot(row, line) for row in h] for line in p]
    return [[dot(row, column) for column in zip(*wide, strict=True)] for row in v]


def synthesize(planes, header: Header, arrays: dict[str, Array]):
    """[channel][frame][row][column], 0 .. 255; of 4:2:0 the second and third channel halved."""
    total, height, width, channels = header.frames, header.height, header.width, header.channels
    relu, depth = header.synthesis_relu, len(header.synthesis_widths) + 1
    up = []
    for grid, frames in enumerate(planes):
        spread = [upsampled(plane, grid, header, arrays) for plane in frames]
        if header.is_clip:
            spread = along_time(spread, total, header.upsampling)
        if header.corners:
            spread = [
                [line[left : left + width] for line in frame[top : top + height]]
                for frame, (top, left) in zip(spread, header.corners, strict=True)
            ]
        up.append(spread)
    image = [
        [[[0.0] * width for _ in range(height)] for _ in range(total)] for _ in range(channels)
    ]

    def values(name: str) -> list[float]:
        return [k / 2 ** arrays[name].e for k in arrays[name].k]

    layers = [(values(f"w{i}"), values(f"b{i}")) for i in range(depth)]
    for t in range(total):
        for y in range(height):
            for x in range(width):
                h = [frames[t][y][x] for frames in up]
                for i, (w, b) in enumerate(layers):
                    n = len(h)
                    h = [dot(w[o * n : (o + 1) * n], h) + b[o] for o in range(len(b))]
                    if i < depth - 1:
                        h = [activation(a, relu) for a in h]
                for c in range(channels):
                    image[c][t][y][x] = h[c]

    times = [0] if header.per_frame else [-1, 0, 1]
    for n in range(header.residual_layers):
        w, b = values(f"residual_w{n}"), values(f"residual_b{n}")
        last = n == header.residual_layers - 1

        def convolved(o: int, t: int, y: int, x: int, image=image, w=w, b=b) -> float:
            total_, place = b[o], 9 * len(times) * channels * o
            for i in range(channels):
                for dt in times:
                    frame = image[i][clamp(t + dt, 0, total - 1)]
                    for dy in range(3):
                        line = frame[clamp(y + dy - 1, 0, height - 1)]
                        for dx in range(3):
                            total_ += w[place] * line[clamp(x + dx - 1, 0, width - 1)]
                            place += 1
            return total_ + image[o][t][y][x]

        def line_of(o: int, t: int, y: int, convolved=convolved, last=last) -> list[float]:
            line = [convolved(o, t, y, x) for x in range(width)]
            return line if last else [activation(a, relu) for a in line]

        image = [
            [[line_of(o, t, y) for y in range(height)] for t in range(total)]
            for o in range(channels)
        ]
    if header.is_420:
        image = [image[0], *[[halved(frame) for frame in frames] for frames in image[1:]]]
    return [
        [[[round(255 * clamp(a, 0.0, 1.0)) for a in line] for line in frame] for frame in frames]
        for frames in image
    ]


def halved(frame):
    """Section 8, step 4."""

    def mean(y: int, x: int) -> float:
        rows = [frame[min(2 * y + dy, len(frame) - 1)] for dy in range(2)]
        four = [row[min(2 * x + dx, len(row) - 1)] for row in rows for dx in range(2)]
        return sum(clamp(a, 0.0, 1.0) for a in four) / 4

    rows, columns = -(-len(frame) // 2), -(-len(frame[0]) // 2)
    return [[mean(y, x) for x in range(columns)] for y in range(rows)]


def along_time(frames, total: int, name: str):
    """[frame][row][column] with `total` frames."""
    rows, columns = len(frames[0]), len(frames[0][0])
    return [
        [[sum(w * f[y][x] for w, f in zip(row, frames, strict=True)) for x in range(columns)]
         for y in range(rows)]
        for row in interpolation(len(frames), total, name)
    ]  # fmt: skip


# -- All of it -------------------------------------------------------------------------------------


class Decoded(NamedTuple):
    header: Header
    parameters: dict[str, dict[str, Array]]
    latents: list  # grid, (frame,) row, column
    pixels: list  # channel, (frame,) row, column


def decode(data: bytes) -> Decoded:
    """Of an image."""
    return decode_sections(sections(data))


def decode_sections(parts: list[bytes]) -> Decoded:
    header = parse_header(parts[0])
    parameters = decode_parameters(parts[1], header)
    latents = decode_latents(parts[2], header, parameters["entropy"])
    pixels = synthesize(latents, header, parameters["synthesis"])
    if not header.is_clip:
        latents, pixels = [plane[0] for plane in latents], [plane[0] for plane in pixels]
    return Decoded(header, parameters, latents, pixels)


def main(source: str, target: str) -> None:
    with open(source, "rb") as file:
        header, _, _, pixels = decode(file.read())
    kind = "P6" if header.channels == 3 else "P5"
    with open(target, "wb") as file:
        file.write(f"{kind} {header.width} {header.height} 255\n".encode())
        for y in range(header.height):
            for x in range(header.width):
                file.write(bytes(plane[y][x] for plane in pixels))


if __name__ == "__main__":
    main(*sys.argv[1:])
