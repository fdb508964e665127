"""Published curves beside ours: compared only where they are of the same pictures."""

import json

import pytest

from overfit.io.datasets import LAYOUTS
from overfit.report.curves import Curve, write_curve
from overfit.report.published import is_whole, read_published


def records(names, crop=None, dataset="kodak"):
    return [
        {"dataset": dataset, "name": name, "crop": crop, "label": "x", "setting": {"q": 1.0}}
        for name in names
    ]


KODAK = [f"kodim{i:02}" for i in range(1, LAYOUTS["kodak"].count + 1)]


@pytest.fixture
def files(tmp_path):
    """A file of averages, one of results per picture, and a damaged one."""
    write_curve(tmp_path / "a.json", Curve("VTM", (0.1, 0.2), (30.0, 33.0), (None, None)))
    images = {
        name: {"bpp": [0.1 * i, 0.2 * i], "psnr-rgb": [30.0 + i, 33.0 + i]}
        for i, name in enumerate(KODAK, 1)
    }
    document = {"name": "CC", "source": "there", "macs_per_pixel": 2000, "images": images}
    (tmp_path / "b.json").write_text(json.dumps(document))
    (tmp_path / "c.json").write_text("{")
    return tmp_path


def test_a_part_of_a_set_is_compared_with_the_same_pictures_only(files):
    found = read_published([files], records(["kodim02", "kodim04"]))
    assert [curve.name for curve in found.others] == ["VTM"]
    (curve,) = found.same
    assert curve.bpp == pytest.approx((0.3, 0.6)) and curve.psnr == pytest.approx((33.0, 36.0))
    assert (curve.name, curve.source, curve.macs_per_pixel) == ("CC", "there", 2000)
    assert len(found.problems) == 1 and "c.json" in found.problems[0]


def test_a_whole_set_is_compared_with_averages(files):
    found = read_published([files], records(KODAK))
    assert [curve.name for curve in found.same] == ["VTM"] and found.others == []
    assert read_published([files / "a.json"], []).same == found.same


def test_crops_and_other_pictures_are_compared_with_nothing(files):
    crops = records([f"{name}@128" for name in KODAK], crop=128)
    for ours in (crops, records(["mine"], dataset="photos")):
        found = read_published([files], ours)
        assert found.same == [] and [curve.name for curve in found.others] == ["VTM"]


def test_whole_sets():
    assert is_whole(records(KODAK))
    assert not is_whole(records(KODAK[1:]))
    assert not is_whole(records(KODAK, crop=64))
    assert not is_whole(records(KODAK) + records(["x"], dataset="photos"))
    assert not is_whole([])


@pytest.mark.parametrize("picture", [{"bpp": [1.0]}, {"bpp": [1.0], "psnr-rgb": [2.0, 3.0]}, 3])
def test_damaged_results_per_picture_are_problems(tmp_path, picture):
    document = {"name": "CC", "images": {"kodim01": picture}}
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = read_published([tmp_path, tmp_path / "none"], records(["kodim01"]))
    assert found.same == found.others == [] and len(found.problems) == 2
