"""Whole clips: patches, one container, seeking, and what is left of a damaged file."""

import dataclasses
import io
from fractions import Fraction

import numpy as np
import pytest

from overfit import decoding
from overfit.bases import library
from overfit.bases.base import Base, pack
from overfit.clip_decoding import decode_frames
from overfit.coding import clip_container, container
from overfit.coding.clip_container import Coded, Head, Reader
from overfit.coding.parameters import Change, Prior, quantize
from overfit.errors import UserError
from overfit.io.patches import patches
from overfit.methods.c3 import codec
from overfit.methods.c3.architecture import parameter_shapes
from overfit.methods.c3.config import C3Config, Entropy, Latents, Samples, Synthesis
from overfit.settings import paths

CONFIG = C3Config(
    latents=Latents(num_grids=3),
    entropy=Entropy(widths=(3,), context=1, frame=1),
    synthesis=Synthesis(widths=(4,), residual_layers=1, per_frame=False),
)
HEAD = Head("c3", (8, 24, 32), Fraction(30000, 1001), (5, 16, 20))


def random_code(size, seed, config=CONFIG):
    rng = np.random.default_rng(seed)
    parameters = {
        network: {n: quantize(rng.normal(0, 0.4, shape), 6) for n, shape in arrays.items()}
        for network, arrays in parameter_shapes(config, 3).items()
    }
    latents = [rng.integers(-2, 3, shape, np.int32) for shape in config.latents.shapes(*size)]
    return codec.Code(config, (3, *size), parameters, latents)


def packed(head, sections, bases=()) -> bytes:
    """A clip's file; bases: what names those of the patches."""
    bases = [*bases, *[b""] * (len(sections) - len(bases))]
    return clip_container.pack(head, [Coded(*pair) for pair in zip(sections, bases, strict=True)])


BOXES = patches(HEAD.size, HEAD.patch)
CODES = [random_code(patch.size, i) for i, patch in enumerate(BOXES)]
SECTIONS = [list(codec.write(code).values()) for code in CODES]
DATA = packed(HEAD, SECTIONS)
CLIP = np.empty((*HEAD.size, 3), np.uint8)
for box, code in zip(BOXES, CODES, strict=True):
    CLIP[box.slices] = codec.reconstruct(code)


class Watched(io.BytesIO):
    """Counts the bytes that are read."""

    taken = 0

    def read(self, *args):
        data = super().read(*args)
        self.taken += len(data)
        return data


def frames(data, *args, **kwargs):
    return np.stack(list(decode_frames(io.BytesIO(data), *args, **kwargs)))


def test_a_clip_comes_back_with_its_frame_rate():
    reader = Reader(io.BytesIO(DATA))
    assert reader.head == HEAD and HEAD.count == 8
    for i, sections in enumerate(SECTIONS):
        assert reader.patch(i, 3) == Coded(sections)
    np.testing.assert_array_equal(frames(DATA), CLIP)
    overhead = len(DATA) - sum(len(section) for patch in SECTIONS for section in patch)
    assert overhead <= 8 + 20 + 8 * (2 + 4 + 3)


@pytest.mark.parametrize("start, stop", [(0, 1), (0, 5), (4, 6), (6, 8), (7, 8)])
def test_any_frames_can_be_asked_for(start, stop):
    np.testing.assert_array_equal(frames(DATA, start, stop), CLIP[start:stop])


@pytest.mark.parametrize("start, stop", [(-1, 3), (3, 3), (0, 9), (8, 9)])
def test_frames_that_are_not_there_are_refused(start, stop):
    with pytest.raises(UserError, match=f"{start}:{stop} in a clip of 8"):
        frames(DATA, start, stop)


def test_a_patch_is_read_without_the_rest():
    file = Watched(DATA)
    first = file.taken
    Reader(file).patch(5, 3)
    sizes = [len(container.join_sections(s)) for s in SECTIONS]
    assert file.taken - first < 100 + sizes[5]
    late = Watched(DATA)
    list(decode_frames(late, 6, 8))
    assert late.taken < 100 + sum(sizes[4:]) + 4 * 4


def test_the_first_frame_comes_before_the_rest_is_decoded(monkeypatch):
    taken = []
    coded = codec.latent_coding.code_steps

    def watched(*args):
        for step in coded(*args):
            taken.append(None)
            yield step

    monkeypatch.setattr(codec.latent_coding, "code_steps", watched)
    stream = decode_frames(io.BytesIO(DATA))
    next(stream)
    # Four patches; the first frame of each needs one step, and one more for its 3x3x3 layer.
    assert len(taken) == 4 * 2


def damaged(position):
    data = bytearray(DATA)
    data[position] ^= 0x10
    return bytes(data)


def test_other_patches_survive_a_damage():
    begin = len(DATA) - sum(len(container.join_sections(s)) + 4 for s in SECTIONS[3:])
    bad = damaged(begin + 50)  # in the fourth patch
    with pytest.raises(UserError, match="patch 4 of 8"):
        frames(bad)
    messages = []
    saved = frames(bad, lost=messages.append)
    assert len(messages) == 1 and "patch 4 of 8" in messages[0]
    expected = CLIP.copy()
    expected[BOXES[3].slices] = 128
    np.testing.assert_array_equal(saved, expected)
    # Frames without a part of it are not touched.
    np.testing.assert_array_equal(frames(bad, 5, 8), CLIP[5:])


def test_what_comes_before_a_cut_is_saved():
    messages = []
    cut = DATA[: -len(container.join_sections(SECTIONS[7])) - 10]
    saved = frames(cut, lost=messages.append)
    expected = CLIP.copy()
    for box in BOXES[6:]:
        expected[box.slices] = 128
    np.testing.assert_array_equal(saved, expected)
    assert len(messages) == 2


def test_no_damage_of_the_head_goes_unnoticed():
    begin = len(DATA) - sum(len(container.join_sections(s)) + 4 for s in SECTIONS)
    for position in range(begin):
        with pytest.raises(UserError) as error:
            Reader(io.BytesIO(damaged(position)))
        assert "\n" not in str(error.value)
    for length in range(begin):
        with pytest.raises(UserError):
            Reader(io.BytesIO(DATA[:length]))


def forged(numbers) -> bytes:
    """A head with a right checksum."""
    rest = b"".join(map(container.write_varint, numbers))
    rest = container.write_varint(len(rest)) + rest
    first = b"OVF" + bytes([container.VERSION << 4])
    return first + clip_container._checksum(first + rest) + rest


GOOD = (1, *HEAD.size, 30000, 1001, *HEAD.patch, *[50] * 8)


@pytest.mark.parametrize(
    "i, value",
    [(0, 5), (0, 13), (0, 33), *((i, 0) for i in range(1, 9)), *((i, 2**31) for i in (1, 2, 3))],
)
def test_forged_heads_are_refused(i, value):
    Reader(io.BytesIO(forged(GOOD)))
    numbers = list(GOOD)
    numbers[i] = value
    with pytest.raises(UserError):
        Reader(io.BytesIO(forged(numbers)))
    with pytest.raises(UserError):
        Reader(io.BytesIO(forged(GOOD[:i])))


def test_a_patch_of_another_size_than_its_place_is_refused():
    swapped = packed(HEAD, [SECTIONS[1], SECTIONS[0], *SECTIONS[2:]])
    with pytest.raises(UserError, match="patch 1 has another size"):
        frames(swapped)


def test_an_image_is_no_clip_and_a_clip_no_image():
    image = container.pack("c3", SECTIONS[0])
    assert clip_container.is_clip(DATA[:4]) and not clip_container.is_clip(image[:4])
    with pytest.raises(UserError, match="clip"):
        Reader(io.BytesIO(image))
    with pytest.raises(UserError):
        container.method_of(DATA)


# -- Bases -----------------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path, monkeypatch):
    """One of CONFIG's networks, which is kept where decoders look."""
    arrays = {
        f"{network}/{name}": Prior(array, 40)
        for network, members in random_code((2, 5, 6), 7).parameters.items()
        for name, array in members.items()
    }
    path = tmp_path / "bases" / "mine.ovb"
    path.parent.mkdir()
    path.write_bytes(pack(Base("c3", paths(CONFIG), arrays, {})))
    monkeypatch.setenv("OVERFIT_BASES", str(path.parent))
    return library.load(path)


def changed(code: codec.Code, base: Base) -> codec.Code:
    """The code with its networks as changes of a base."""
    parameters = {
        network: {
            name: Change(*array, base.arrays[f"{network}/{name}"])
            for name, array in members.items()
        }
        for network, members in code.parameters.items()
    }
    return code._replace(parameters=parameters)


@pytest.fixture
def mixed(base):
    """A clip of which the second and the fifth patch need the base; its codes."""
    known, codes, sections = base.load(), list(CODES), list(SECTIONS)
    names = [b""] * len(CODES)
    for i in (1, 4):
        codes[i], names[i] = changed(CODES[i], known), base.prefix
        sections[i] = list(codec.write(codes[i], known).values())
    return packed(HEAD, sections, names), codes


def test_patches_with_and_without_a_base_come_back(mixed, base):
    data, codes = mixed
    shown = decoding.decode(data)
    for patch, code in zip(BOXES, codes, strict=True):
        np.testing.assert_array_equal(shown[patch.slices], codec.reconstruct(code))
    assert decoding.info(data)["base"] == base.prefix.hex()
    assert decoding.info(DATA)["base"] is None
    # The head, and in every patch a length and the name or nothing.
    assert data[9] == 16 + DATA[9] and Reader(io.BytesIO(data)).patch(0, 3) == Coded(SECTIONS[0])


def test_a_base_that_is_not_here_is_named(mixed, base, tmp_path, monkeypatch):
    data, _ = mixed
    monkeypatch.setenv("OVERFIT_BASES", str(tmp_path))
    with pytest.raises(UserError, match=f"{base.prefix.hex()}.*bases import"):
        frames(data)
    messages = []
    saved = frames(data, lost=messages.append)
    assert len(messages) == 2
    expected = CLIP.copy()
    for i in (1, 4):
        expected[BOXES[i].slices] = 128
    np.testing.assert_array_equal(saved, expected)


@pytest.mark.parametrize("name", [b"\0", b"\0\0", b"\0" * 4])
def test_the_name_of_a_base_has_three_bytes(name):
    data = packed(HEAD, SECTIONS, [name])
    with pytest.raises(UserError, match="patch 1 of 8 is damaged"):
        Reader(io.BytesIO(data)).patch(0, 3)


# -- 4:2:0 -----------------------------------------------------------------------------------------

YUV = dataclasses.replace(CONFIG, samples=Samples("yuv420"))
YUV_HEAD = Head("c3", (4, 19, 27), Fraction(25), (3, 8, 16), "yuv420")
YUV_BOXES = patches(YUV_HEAD.size, YUV_HEAD.patch)
YUV_CODES = [random_code(patch.size, i, YUV) for i, patch in enumerate(YUV_BOXES)]
YUV_SECTIONS = [list(codec.write(code).values()) for code in YUV_CODES]
YUV_DATA = packed(YUV_HEAD, YUV_SECTIONS)


def test_a_420_clip_of_odd_size_comes_back_from_its_patches():
    clip = decoding.decode(YUV_DATA)
    assert clip.shape == ("yuv420", 4, 19, 27, 25)
    assert [plane.shape for plane in clip.planes] == [(4, 19, 27), (4, 10, 14), (4, 10, 14)]
    for box, code in zip(YUV_BOXES, YUV_CODES, strict=True):
        part = codec.reconstruct(code)
        for plane, where, expected in zip(clip.planes, box.of_planes("yuv420"), part, strict=True):
            np.testing.assert_array_equal(plane[where], expected)
    later = list(decode_frames(io.BytesIO(YUV_DATA), 2, 4))
    for frame, *planes in zip(later, *(plane[2:] for plane in clip.planes), strict=True):
        for ours, expected in zip(frame, planes, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_what_is_lost_of_a_420_clip_is_grey_in_all_planes():
    whole, messages = decoding.decode(YUV_DATA), []
    cut = YUV_DATA[: -len(container.join_sections(YUV_SECTIONS[-1])) - 10]  # the last two patches
    saved = list(decode_frames(io.BytesIO(cut), lost=messages.append))
    assert len(messages) == 2
    for i, plane in enumerate(whole.planes):
        expected = plane.copy()
        for box in YUV_BOXES[-2:]:
            expected[box.of_planes("yuv420")[i]] = 128
        np.testing.assert_array_equal(np.stack([frame[i] for frame in saved]), expected)
    messages.clear()
    begin = len(YUV_DATA) - sum(len(container.join_sections(s)) + 4 for s in YUV_SECTIONS)
    nothing = decode_frames(io.BytesIO(YUV_DATA[: begin + 10]), 0, 1, messages.append)
    assert [(p.shape, set(p.ravel())) for p in next(nothing)] == [
        ((19, 27), {128}), ((10, 14), {128}), ((10, 14), {128}),
    ]  # fmt: skip


@pytest.mark.parametrize("head, sections", [(HEAD, YUV_SECTIONS), (YUV_HEAD, SECTIONS)])
def test_patches_of_other_samples_than_the_clip_are_refused(head, sections):
    shape = codec.read_networks(sections[0]).shape[1:]
    data = packed(head._replace(size=shape, patch=shape), sections[:1])
    with pytest.raises(UserError, match="patch 1 has other samples"):
        list(decode_frames(io.BytesIO(data)))


def test_420_patches_that_begin_between_chroma_samples_are_refused():
    numbers = (9, 4, 19, 27, 25, 1, 3, 9, 16, *[50] * 12)
    with pytest.raises(UserError, match="between samples"):
        next(decode_frames(io.BytesIO(forged(numbers))))


def test_420_has_three_channels():
    code = random_code((2, 5, 6), 0)._replace(config=YUV, shape=(1, 2, 5, 6))
    with pytest.raises(UserError, match="three channels"):
        codec.read_networks([codec._write_header(code), b"", b""])
