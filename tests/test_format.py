"""docs/format.md against the code: a decoder written from the text reads what the codec writes."""

import importlib.util
import random
import re
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from overfit import decoding
from overfit.coding import clip_container, container, laplace
from overfit.coding.clip_container import Coded, Head
from overfit.coding.parameters import Quantized
from overfit.errors import UserError
from overfit.io.patches import patches
from overfit.methods.c3 import codec
from overfit.methods.c3.architecture import parameter_shapes
from overfit.methods.c3.config import C3Config, Entropy, Latents, Samples, Synthesis


def load_reference():
    path = Path(__file__).with_name("reference_decoder.py")
    spec = importlib.util.spec_from_file_location("reference_decoder", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load_reference()

CASES = {  # name: (config, channels, height, width)
    "shared": (C3Config(entropy=Entropy((6, 5)), synthesis=Synthesis((6,))), 3, 16, 20),
    "previous": (
        C3Config(
            Latents(num_grids=4, q_step=0.3),
            entropy=Entropy((5,), context=2, previous=1),
            synthesis=Synthesis((4, 4), residual_layers=1, upsampling="bicubic"),
        ),
        3, 16, 20,
    ),
    "coarse to fine": (
        C3Config(
            Latents(num_grids=5, order="coarse_to_fine", q_step=1.0),
            entropy=Entropy((5, 4), context=1, previous=0, activation="relu"),
            synthesis=Synthesis((7,), activation="relu", upsampling="lanczos3"),
        ),
        3, 15, 19,
    ),
    "grey FiLM": (
        C3Config(
            Latents(num_grids=3, q_step=0.02),
            entropy=Entropy((6, 4), context=2, per_grid="film"),
            synthesis=Synthesis((5,), upsampling="learned"),
        ),
        1, 13, 20,
    ),
    "grey separate": (
        C3Config(
            Latents(num_grids=3, first_octave=1, order="coarse_to_fine"),
            entropy=Entropy((4,), context=1, per_grid="separate", log_scale_shift=3),
            synthesis=Synthesis((), residual_layers=3, upsampling="nearest"),
        ),
        1, 16, 20,
    ),
    "only the previous grid": (
        C3Config(
            Latents(num_grids=3),
            entropy=Entropy((), context=0, previous=2),
            synthesis=Synthesis(()),
        ),
        1, 9, 7,
    ),
    "one pixel": (C3Config(entropy=Entropy((3,)), synthesis=Synthesis((3,))), 3, 1, 1),
    "one pixel, learned upsampling": (
        C3Config(Latents(num_grids=2), synthesis=Synthesis((3,), upsampling="learned")), 3, 1, 1
    ),
    "narrower than a wave's slope": (
        C3Config(
            Latents(num_grids=4), entropy=Entropy((4,), previous=1), synthesis=Synthesis((4,))
        ),
        3, 16, 5,
    ),
    "nearest at ties": (
        C3Config(
            Latents(num_grids=3),
            entropy=Entropy((4,), context=1),
            synthesis=Synthesis((4,), upsampling="nearest"),
        ),
        3, 47, 3,
    ),
}  # fmt: skip


def random_code(config: C3Config, channels: int, *size: int, seed: int) -> codec.Code:
    """Integers that no fit would give, escapes and wide scales among them."""
    rng = np.random.default_rng(seed)

    def array(name: str, shape: tuple[int, ...]) -> Quantized:
        spread = 0.1 if name == "upsampling" else 3.0 if name.startswith("b") else 0.4
        e = int(rng.integers(4, 13))
        k = np.rint(rng.normal(0, spread, shape) * 2.0**e)
        return Quantized(k.astype(np.int64), e)

    parameters = {
        network: {name: array(name, shape) for name, shape in arrays.items()}
        for network, arrays in parameter_shapes(config, channels).items()
    }
    latents = []
    for shape in config.latents.shapes(*size):
        plane = rng.laplace(0, 1.5, shape)
        plane *= rng.choice([1, 100, 30000], shape, p=[0.96, 0.03, 0.01])
        latents.append(np.rint(plane).astype(np.int32))
    return codec.Code(config, (channels, *size), parameters, latents)


def pack(header: bytes, networks: bytes, latents: bytes) -> bytes:
    return container.pack("c3", [header, networks, latents])


def check_same(data: bytes) -> codec.Code:
    """Both decoders agree on a file; returns what it holds."""
    ours = codec.read(container.unpack(data, 3))
    theirs = reference.decode(data)
    assert len(theirs.latents) == len(ours.latents)
    for plane, expected in zip(theirs.latents, ours.latents, strict=True):
        np.testing.assert_array_equal(np.asarray(plane), expected)
    for network, arrays in ours.parameters.items():
        assert list(theirs.parameters[network]) == list(arrays)
        for name, array in arrays.items():
            got = theirs.parameters[network][name]
            assert (got.shape, got.e) == (array.k.shape, array.e)
            assert got.k == array.k.ravel().tolist()
    pixels = decoding.decode(data).astype(int)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    assert np.abs(pixels - np.asarray(theirs.pixels)).max() <= 1
    return ours


@pytest.mark.parametrize("name", CASES)
def test_a_decoder_written_from_the_text_agrees(name):
    code = random_code(*CASES[name], seed=sum(map(ord, name)))
    data = pack(*codec.write(code).values())
    again = check_same(data)
    assert (again.config, again.shape) == (code.config, code.shape)
    for plane, expected in zip(again.latents, code.latents, strict=True):
        np.testing.assert_array_equal(plane, expected)


CLIPS = {  # name: (config, channels, frames, height, width), places of masks
    "window, 3x3x3": (
        C3Config(
            Latents(num_grids=3),
            entropy=Entropy((4,), context=1, frame=2),
            synthesis=Synthesis((4,), residual_layers=2, per_frame=False),
        ),
        3, 5, 9, 7,
    ),
    "masks": (
        C3Config(
            Latents(num_grids=3, order="coarse_to_fine"),
            entropy=Entropy((3,), 2, per_grid="separate", frame=9, mask=3, mask_grids=2),
            synthesis=Synthesis((4,), residual_layers=1, activation="relu"),
        ),
        1, 6, 11, 10, ((-9, 7), (2, -4)),
    ),
    "separate windows": (
        C3Config(
            Latents(num_grids=2),
            entropy=Entropy((), context=1, per_grid="separate", frame=1),
            synthesis=Synthesis((3,), upsampling="bicubic"),
        ),
        3, 3, 8, 6,
    ),
    "4:2:0": (
        C3Config(
            Latents(num_grids=2),
            entropy=Entropy((3,), context=1, frame=1),
            synthesis=Synthesis((3,), residual_layers=1),
            samples=Samples("yuv420"),
        ),
        3, 3, 7, 9,
    ),
    "no frame before, FiLM": (
        C3Config(
            Latents(num_grids=3, first_octave=1),
            entropy=Entropy((3,), context=1, per_grid="film"),
            synthesis=Synthesis((3,), residual_layers=0),
        ),
        1, 7, 5, 6,
    ),
    "canvas": (
        C3Config(
            Latents(num_grids=3, margin=(3, 9)),
            entropy=Entropy((3,), context=1, frame=1),
            synthesis=Synthesis((3,), residual_layers=1, per_frame=False),
        ),
        3, 4, 6, 5,
    ),
    "canvas of 4:2:0 frames": (
        C3Config(
            Latents(num_grids=2, margin=(0, 4)),
            entropy=Entropy((3,), context=1),
            synthesis=Synthesis((3,), residual_layers=1),
            samples=Samples("yuv420"),
        ),
        3, 3, 7, 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLIPS)
def test_a_decoder_written_from_the_text_agrees_on_clips(name):
    config, channels, frames, height, width, *places = CLIPS[name]
    code = random_code(config, channels, frames, height, width, seed=len(name))
    margin = np.array(config.latents.margin)
    corners = [tuple(map(int, n * margin // (frames - 1))) for n in range(frames)]
    code = code._replace(masks=places[0] if places else (), places=tuple(corners) * any(margin))
    # Grey, more or less: black and white pixels show no mistake.
    arrays = code.parameters["synthesis"]
    arrays |= {name: Quantized(array.k, min(array.e + 3, 16)) for name, array in arrays.items()}
    last = f"b{len(config.synthesis.widths)}"
    arrays[last] = Quantized(np.full_like(arrays[last].k, 8), 4)
    sections = list(codec.write(code).values())
    size = (frames, height, width)
    head = Head("c3", size, Fraction(25, 2), size, config.samples.format)
    clip = reference.clip(clip_container.pack(head, [Coded(sections)]))
    assert (clip.size, clip.rate) == ([*size], Fraction(25, 2))
    assert clip.is_420 == ("4:2:0" in name)
    ((start, inside, parts),) = clip.patches
    assert (start, inside, parts) == ([0, 0, 0], [*size], sections)
    theirs = reference.decode_sections(parts)
    for plane, expected in zip(theirs.latents, code.latents, strict=True):
        np.testing.assert_array_equal(np.asarray(plane), expected)
    shown = codec.reconstruct(codec.read(sections))
    if not isinstance(shown, tuple):
        shown = tuple(shown[None] if channels == 1 else shown.transpose(3, 0, 1, 2))
    for plane, pixels in zip(shown, theirs.pixels, strict=True):
        assert np.abs(plane.astype(int) - np.asarray(pixels)).max() <= 1
        assert len(np.unique(plane)) > 5


def test_patches_lie_where_the_text_says():
    config = C3Config(Latents(num_grids=1), entropy=Entropy((), context=1), synthesis=Synthesis(()))
    head = Head("c3", (5, 6, 7), Fraction(30), (3, 4, 7))
    boxes = patches(head.size, head.patch)
    codes = [random_code(config, 1, *box.size, seed=i) for i, box in enumerate(boxes)]
    sections = [list(codec.write(code).values()) for code in codes]
    theirs = reference.clip(clip_container.pack(head, list(map(Coded, sections)))).patches
    assert theirs == [
        ([*box.start], [*box.size], parts) for box, parts in zip(boxes, sections, strict=True)
    ]


def test_the_cases_reach_escapes_low_bits_and_different_pixels(monkeypatch):
    used = {"escape": 0, "low": 0}
    escape, decode_list = reference.escape, reference.decode_list

    def counted_escape(coder):
        used["escape"] += 1
        return escape(coder)

    def counted_list(coder, models):
        used["low"] += sum(s >= 64 for _, s in models)
        return decode_list(coder, models)

    monkeypatch.setattr(reference, "escape", counted_escape)
    monkeypatch.setattr(reference, "decode_list", counted_list)
    code = random_code(*CASES["grey FiLM"], seed=1)
    decoded = reference.decode(pack(*codec.write(code).values()))
    assert used["escape"] > 5 and used["low"] > 5
    assert len({level for line in decoded.pixels[0] for level in line}) > 20


def test_the_file_in_the_text_decodes_to_what_the_text_says():
    text = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text.split("## 12.")[1], re.DOTALL)
    dump, parameters, latents, pixels = blocks
    data = bytes.fromhex(dump)
    code = check_same(data)
    assert [line.split() for line in parameters.splitlines()] == [
        [network, name, f"{array.e}:", *map(str, array.k.ravel())]
        for network, arrays in code.parameters.items()
        for name, array in arrays.items()
    ]
    assert [plane.tolist() for plane in code.latents] == [
        [[int(v) for v in line.split()] for line in block.splitlines()]
        for block in latents.split("\n\n")
    ]
    expected = np.asarray([line.split() for line in pixels.splitlines()], int)
    assert np.abs(decoding.decode(data).astype(int) - expected).max() <= 1


def with_checksum(data: bytes) -> bytes:
    return data[:4] + zlib.crc32(data[:4] + data[8:]).to_bytes(4, "big") + data[8:]


DAMAGES = {  # of (the whole file, its sections); the header begins with the varints 24, 24
    "magic": lambda data, _: b"OVG" + data[3:],
    "version": lambda data, _: with_checksum(data[:3] + b"\x21" + data[4:]),
    "method": lambda data, _: with_checksum(data[:3] + b"\x1e" + data[4:]),
    "cut": lambda data, _: data[:-1],
    "longer": lambda data, _: data + b"\0",
    "one bit": lambda data, _: data[:-3] + bytes([data[-3] ^ 4]) + data[-2:],
    "long section": lambda data, _: with_checksum(data[:8] + b"\xff\x7f" + data[9:]),
    "endless varint": lambda data, _: with_checksum(data[:8] + b"\xff" * 6 + data[8:]),
    "no width": lambda _, s: pack(b"\0" + s[0][1:], s[1], s[2]),
    "no grids": lambda _, s: pack(s[0][:2] + b"\x80" + s[0][3:], s[1], s[2]),
    "short header": lambda _, s: pack(s[0][:5], s[1], s[2]),
    "no networks": lambda _, s: pack(s[0], b"", s[2]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_both_refuse_a_damaged_file(damage):
    config = C3Config(entropy=Entropy((3,), context=1), synthesis=Synthesis((3,)))
    sections = list(codec.write(random_code(config, 3, 24, 24, seed=3)).values())
    bad = DAMAGES[damage](pack(*sections), sections)
    with pytest.raises(reference.Damaged):
        reference.decode(bad)
    with pytest.raises(UserError):
        decoding.decode(bad)


class RangeEncoder:
    """Section 4.2 of the text."""

    def __init__(self):
        self.low, self.range, self.words = 0, 2**64 - 1, []

    def carry(self):
        if self.low >= 2**64:
            self.low -= 2**64
            i = len(self.words) - 1
            while self.words[i] == 2**32 - 1:
                self.words[i] = 0
                i -= 1
            self.words[i] += 1

    def uniform(self, value: int, n: int):
        m = 2**24 // n
        unit = self.range >> 24
        self.low += unit * value * m
        self.range = unit * (m if value < n - 1 else 2**24 - value * m)
        self.carry()
        if self.range < 2**32:
            self.words.append(self.low >> 32)
            self.low, self.range = (self.low << 32) % 2**64, self.range << 32

    def finish(self) -> bytes:
        if self.range < 2**64 - 1:
            self.low += 2**32 - 1
            self.carry()
            self.words.append(self.low >> 32)
        return b"".join(word.to_bytes(4, "big") for word in self.words).rstrip(b"\0")


@pytest.mark.parametrize("seed", range(40))
def test_a_range_encoder_written_from_the_text_writes_the_same_bytes(seed):
    rng = random.Random(seed)
    text, ours, coded = RangeEncoder(), laplace.Encoder(), []
    for _ in range(rng.choice([0, 1, 2, 5, 200])):
        n = rng.choice([2, 3, 17, 104, 1 << 18, 1 << 24])
        if seed % 2:
            n = 1 << 24  # stay where a carry is open: at the value whose interval holds 2^64
            value = min((2**64 - 1 - text.low) // (text.range >> 24), n - 1)
            value = value if rng.random() < 0.9 else rng.randrange(n)
        else:
            value = rng.choice([0, n - 1, rng.randrange(n)])
        text.uniform(value, n)
        ours.uniform(value, n)
        coded.append((value, n))
    data = ours.finish()
    assert text.finish() == data
    decoder = reference.RangeDecoder(data + bytes(8))  # zeros that change nothing but the bound
    assert [decoder.uniform(n) for _, n in coded] == [value for value, _ in coded]
