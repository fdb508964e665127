"""Data sets: what a folder, a glob or a name stands for."""

import numpy as np
import pytest
from PIL import Image

from overfit.errors import UserError
from overfit.io.datasets import LAYOUTS, find, find_all


@pytest.fixture
def folder(tmp_path):
    for name in ("b/frame10.png", "b/frame2.png", "a.jpg", "clip.y4m", "notes.txt", "x.yuv.xz"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "set"


def test_a_folder_is_searched_to_its_depth_in_natural_order(folder):
    found = find(str(folder))
    assert [i.name for i in found] == ["a", "b/frame2", "b/frame10", "clip", "x"]
    assert {i.dataset for i in found} == {"set"}
    assert [i.kind for i in found] == ["image"] * 3 + ["video"] * 2


def test_a_file_and_a_glob(folder):
    assert [i.name for i in find(str(folder / "a.jpg"))] == ["a"]
    assert [i.name for i in find(str(folder / "b" / "*.png"))] == ["frame2", "frame10"]
    assert [i.name for i in find(str(folder / "**" / "*.*g"))] == ["a", "b/frame2", "b/frame10"]


def test_samples(folder):
    (instance,) = find("sample:astronaut")
    assert instance == ("sample", "astronaut", "sample:astronaut", "image")


def test_names_select_and_must_be_unique(folder):
    assert [i.name for i in find_all([str(folder)], ["b/*", "clip"])] == [
        "b/frame2", "b/frame10", "clip",
    ]  # fmt: skip
    with pytest.raises(UserError, match="nothing_like_it"):
        find_all([str(folder)], ["nothing_like_it"])
    with pytest.raises(UserError, match="two inputs have the name 'a'"):
        find_all([str(folder), str(folder / "a.jpg")])


@pytest.mark.parametrize("spec", ["none", "none/*.png", "kodak:none", "kodak", "uvg:none"])
def test_nothing_there(tmp_path, monkeypatch, spec):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OVERFIT_DATA", raising=False)
    with pytest.raises(UserError):
        find(spec)


def test_a_named_set_takes_its_members_only(tmp_path, monkeypatch):
    copy = tmp_path / "kodak"
    copy.mkdir()
    for name in ("kodim01", "kodim24", "kodim25", "contact_sheet"):
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(copy / f"{name}.png")
    found = find(f"kodak:{copy}")
    assert [i.name for i in found] == ["kodim01", "kodim24"] and found[0].dataset == "kodak"
    monkeypatch.setenv("OVERFIT_DATA", str(tmp_path))
    monkeypatch.chdir("/")
    assert find("kodak") == found
    with pytest.raises(UserError, match="mcl-jcv"):
        find(f"mcl-jcv:{copy}")


def test_clips_of_a_named_set_may_be_folders_of_frames(tmp_path):
    (tmp_path / "Jockey").mkdir()
    (tmp_path / "Jockey" / "frame1.png").write_bytes(b"")
    (tmp_path / "HoneyBee_1920x1080_120fps_420_8bit_YUV.yuv").write_bytes(b"")
    (tmp_path / "other.yuv").write_bytes(b"")
    found = find(f"uvg:{tmp_path}")
    assert sorted(i.name.split("_")[0] for i in found) == ["HoneyBee", "Jockey"]
    assert {i.kind for i in found} == {"video"}


def test_every_layout_says_what_it_holds():
    assert {layout.kind for layout in LAYOUTS.values()} == {"image", "video"}


def _septuplet(folder):
    folder.mkdir(parents=True)
    for i in range(7):
        (folder / f"im{i + 1}.png").write_bytes(b"")


def test_vimeo90k_as_it_is_published_and_flat(tmp_path):
    for name in ("00001/0001", "00001/0002", "00010/0001", "00002/0001"):
        _septuplet(tmp_path / "published" / "sequences" / name)
        _septuplet(tmp_path / "flat" / name.replace("/", "_"))
    names = ["00001/0001", "00001/0002", "00002/0001", "00010/0001"]
    for layout in ("vimeo90k", "clips"):
        found = find(f"{layout}:{tmp_path / 'published'}")
        assert [i.name for i in found] == [f"sequences/{name}" for name in names]
        assert {i.kind for i in found} == {"video"}
        found = find(f"{layout}:{tmp_path / 'flat'}")
        assert [i.name for i in found] == [name.replace("/", "_") for name in names]


def test_vimeo90k_is_what_its_training_list_says(tmp_path):
    for name in ("00001/0001", "00001/0002", "00002/0001"):
        _septuplet(tmp_path / "sequences" / name)
    (tmp_path / "sep_trainlist.txt").write_text("00002/0001\n00001/0001\n00009/0001\n\n")
    found = find(f"vimeo90k:{tmp_path}")
    assert [i.name for i in found] == ["sequences/00001/0001", "sequences/00002/0001"]


def test_folders_of_clips_may_lie_under_each_other_and_in_circles(tmp_path):
    _septuplet(tmp_path / "a" / "b")
    (tmp_path / "a" / "clip.mp4").write_bytes(b"")
    (tmp_path / "picture.png").write_bytes(b"")  # of no clip
    _septuplet(tmp_path / "a" / ".overfit-1234.tmp")  # of a program that was killed
    found = find(f"clips:{tmp_path}")
    assert [i.name for i in found] == ["a/b", "a/clip"]
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert {i.name for i in find(f"clips:{tmp_path}")} > {"a/b", "a/clip"}
