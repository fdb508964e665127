"""The published curves in experiments/: readable, with their origin and the known BD-rates."""

from pathlib import Path

import pytest

from overfit.metrics.bd_rate import bd_rate
from overfit.report.curves import points, read_curve

PUBLISHED = Path(__file__).parents[2] / "experiments" / "published"
FILES = sorted(PUBLISHED.glob("*/*.json"))

pytestmark = pytest.mark.skipif(not PUBLISHED.exists(), reason="needs the folder experiments/")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_curve_rises_and_says_where_it_comes_from(path):
    curve = read_curve(path)
    values = points(curve, "psnr")
    assert len(values) == len(curve.bpp) >= 4
    assert bd_rate(values, values) == 0  # refuses a curve that does not rise
    assert "@" in curve.source and "mean" in curve.source  # the commit, the averaging


@pytest.mark.parametrize("folder", ["kodak", "clic2020", "uvg"])
def test_names_are_unique_in_a_folder(folder):
    names = [read_curve(path).name for path in FILES if path.parent.name == folder]
    assert len(names) == len(set(names)) > 10


@pytest.mark.parametrize(
    ("anchor", "test", "pchip", "cubic"),
    [
        # Computed apart from this project, from the same sources.
        ("kodak/vtm", "c3", 5.21, 5.01),
        ("kodak/vtm", "c3-adaptive", 3.41, 3.24),
        ("kodak/vtm", "bpg", 21.99, 22.05),
        ("kodak/vtm", "cool-chic-v2", 31.64, 31.65),
        ("kodak/vtm", "recombiner", 61.38, 62.10),
        ("kodak/vtm", "bms-hyperprior", 30.49, 30.14),
        ("kodak/vtm", "mbt", 11.02, 10.61),
        ("kodak/vtm", "mlic-plus", -13.11, -13.19),
        ("kodak/vtm", "evc-l", -0.86, -1.89),
        ("kodak/vtm", "cool-chic-5.0.1", -6.6, None),
        ("kodak/c3", "cool-chic-5.0.1", -10.5, None),
        ("kodak/mlic-plus", "cool-chic-3.4", 16.9, None),
        ("kodak/bpg", "c3", -16.31, -16.44),
        ("clic2020/vtm", "c3", -0.07, -0.14),
        ("clic2020/vtm", "bpg", 44.75, 44.75),
        ("clic2020/vtm", "stf", 0.44, 0.38),
        ("clic2020/vtm", "cool-chic-5.0.1", -11.9, None),
        ("clic2020/cool-chic-v2", "c3-adaptive", -22.64, -22.73),
        ("uvg/hevc-medium", "c3", -29.48, -28.89),
        ("uvg/hevc-medium", "mimt", -68.27, -68.45),
        ("uvg/vct", "c3", -5.14, -4.84),
        ("uvg/hm18-ra", "hinerv", 8.34, 7.62),
        ("uvg/vtm17-ra", "nerv", 382.45, 382.09),
    ],
)
def test_bd_rates_are_those_computed_elsewhere(anchor, test, pchip, cubic):
    pair = [
        points(read_curve(path.with_name(path.name + ".json")), "psnr")
        for path in (PUBLISHED / anchor, (PUBLISHED / anchor).parent / test)
    ]
    for interpolation, expected in (("pchip", pchip), ("cubic", cubic)):
        if expected is not None:
            rounding = 0.5 * 10 ** -len(str(expected).split(".")[1])
            assert bd_rate(*pair, interpolation) == pytest.approx(expected, abs=rounding + 0.005)
