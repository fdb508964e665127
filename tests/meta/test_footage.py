"""Windows to train video codecs on: of clips and stills, in every layout, from the seed."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from overfit.errors import UserError
from overfit.io.clip import Clip
from overfit.io.clip_writers import save_clip
from overfit.io.clips import as_yuv420
from overfit.io.datasets import find, find_all
from overfit.meta import footage
from overfit.meta.footage import load, windows

SIZE, FRAMES = 16, 3


def frames_of(folder, levels, height=20, width=28, name="im{}.png"):
    """A clip of flat frames: of each, its level tells which one it is."""
    folder.mkdir(parents=True)
    for i, level in enumerate(levels):
        frame = np.full((height, width, 3), level, np.uint8)
        Image.fromarray(frame).save(folder / name.format(i + 1))


def levels_of(window):
    assert window.dtype == np.uint8 and window.shape[1:] == (SIZE, SIZE, 3)
    assert all(np.ptp(frame) == 0 for frame in window)
    return [int(frame[0, 0, 0]) for frame in window]


@pytest.fixture
def septuplets(tmp_path):
    root = tmp_path / "vimeo"
    for i in range(2):
        frames_of(root / "sequences" / "00001" / f"000{i + 1}", range(10 * i, 10 * i + 7))
    return root


def test_windows_are_consecutive_frames_in_both_directions(septuplets):
    source = load(find(f"vimeo90k:{septuplets}"), SIZE, FRAMES)
    found = [levels_of(w) for w in windows(source, SIZE, FRAMES, 60, (0,))]
    assert {tuple(np.diff(levels)) for levels in found} == {(1, 1), (-1, -1)}
    starts = {min(levels) for levels in found}
    assert starts == {*range(5), *range(10, 15)}


def test_windows_follow_from_the_seed_each_for_itself(septuplets, picture):
    Image.fromarray(picture(40, 50)).save(septuplets / "still.png")
    instances = find(f"vimeo90k:{septuplets}") + find(str(septuplets / "still.png"))
    many = windows(load(instances, SIZE, FRAMES), SIZE, FRAMES, 6, (3, 1))
    few = windows(load(instances, SIZE, FRAMES), SIZE, FRAMES, 2, (3, 1))
    assert all(np.array_equal(a, b) for a, b in zip(few, many[:2], strict=True))
    other = windows(load(instances, SIZE, FRAMES), SIZE, FRAMES, 6, (3, 2))
    assert not all(np.array_equal(a, b) for a, b in zip(other, many, strict=True))


def test_a_window_is_one_part_of_all_its_frames(tmp_path, picture):
    image = picture(40, 60)
    save_clip(tmp_path / "still", Clip((np.stack([image] * 4),), Fraction(25)))
    source = load(find(f"clips:{tmp_path}"), SIZE, FRAMES)
    found = windows(source, SIZE, FRAMES, 8, (0,))
    assert all((w == w[0]).all() for w in found)
    assert len({w[0].tobytes() for w in found}) == 8


def test_files_of_clips_are_read_as_rgb(tmp_path):
    red = np.broadcast_to(np.array([200, 40, 40], np.uint8), (4, 20, 20, 3))
    save_clip(tmp_path / "red.y4m", as_yuv420(Clip((red,), Fraction(25))))
    (window,) = windows(load(find(str(tmp_path)), SIZE, FRAMES), SIZE, FRAMES, 1, (0,))
    assert np.abs(window.astype(int) - [200, 40, 40]).max() <= 3


def test_clips_and_stills_are_mixed_by_their_share(septuplets):
    Image.fromarray(np.full((40, 40, 3), 250, np.uint8)).save(septuplets / "still.png")
    instances = find(f"vimeo90k:{septuplets}") + find(str(septuplets / "still.png"))
    source = load(instances, SIZE, FRAMES)
    assert source.clip_share == footage.CLIP_SHARE
    clips = sum(w.max() < 20 for w in windows(source, SIZE, FRAMES, 100, (0,)))
    assert 30 < clips < 70


def test_stills_alone_move(tmp_path, picture):
    Image.fromarray(picture(60, 60)).save(tmp_path / "still.png")
    source = load(find(str(tmp_path)), SIZE, FRAMES)
    found = windows(source, SIZE, FRAMES, 6, (0,))
    assert {w.shape for w in found} == {(FRAMES, SIZE, SIZE, 3)}
    assert sum((w[0] != w[-1]).any() for w in found) >= 4


def test_what_is_too_small_or_short_is_passed_over(tmp_path):
    frames_of(tmp_path / "small", [50] * 5, height=SIZE - 1)
    frames_of(tmp_path / "short", [60] * (FRAMES - 1))
    frames_of(tmp_path / "good", [70] * FRAMES)
    source = load(find(f"clips:{tmp_path}"), SIZE, FRAMES)
    assert all(levels_of(w) == [70] * 3 for w in windows(source, SIZE, FRAMES, 10, (0,)))
    with pytest.raises(UserError, match="none of the 3 clips has 3 frames of 21 px"):
        load(find(f"clips:{tmp_path}"), 21, FRAMES)
    with pytest.raises(UserError, match="none of the 3 clips has 6 frames of 16 px"):
        load(find(f"clips:{tmp_path}"), SIZE, 6)


def test_no_kind_of_data_is_left_out_without_a_word(septuplets, picture):
    Image.fromarray(picture(20, 20)).save(septuplets / "small.png")
    Image.fromarray(picture(40, 40)).save(septuplets / "large.png")
    clips, small, large = (
        find(spec) for spec in (
            f"vimeo90k:{septuplets}", f"{septuplets}/small.png", f"{septuplets}/large.png"
        )
    )  # fmt: skip
    with pytest.raises(UserError, match="none of the 2 clips has 3 frames of 30 px"):
        load(clips + large, 30, FRAMES)
    with pytest.raises(UserError, match="none of the images has colors and 24 px"):
        load(small, 24, FRAMES)
    with pytest.raises(UserError, match="there are none"):
        load([], SIZE, FRAMES)
    assert len(load(clips + small + large, SIZE, FRAMES).images) == 2


def test_a_damaged_clip_is_named(tmp_path):
    frames_of(tmp_path / "damaged", [1] * 4)
    (tmp_path / "damaged" / "im1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="damaged"):
        load(find(f"clips:{tmp_path}"), SIZE, FRAMES)


def test_few_clips_are_in_memory(septuplets, monkeypatch):
    reads = []

    def read(path):
        reads.append(path)
        return load_clip(path)

    load_clip = footage.load_clip
    monkeypatch.setattr(footage, "load_clip", read)
    first, second = (i.path for i in find(f"vimeo90k:{septuplets}"))
    decoded = footage.Decoded(limit=7 * 20 * 28 * 3)
    for path in (first, first, second, second, first):
        assert decoded.clip(path).shape == (7, 20, 28, 3)
    assert reads == [first, second, first]
    decoded = footage.Decoded()
    for path in (first, second, first, second):
        decoded.clip(path)
    assert reads[3:] == [first, second]


def test_nothing_of_a_data_set_is_decoded_before_it_is_drawn(septuplets, monkeypatch):
    """The published set has 91701 clips."""
    monkeypatch.setattr(footage, "load_clip", None)
    assert len(load(find_all([f"vimeo90k:{septuplets}"]), SIZE, 7).clips) == 2
