"""Figures: what they show, that it is legible, and that equal input gives equal files."""

import itertools

import numpy as np
import pytest
from PIL import Image

from overfit.errors import UserError
from overfit.report.curves import Curve

matplotlib = pytest.importorskip("matplotlib")

from overfit.report.plot import (  # noqa: E402
    Cost,
    complexity_figure,
    figure_svg,
    rd_figure,
    save_figure,
)


def curve(name, rates, start, step=3.0):
    quality = tuple(start + step * np.log2(rate / rates[0]) for rate in rates)
    ms_ssim = tuple(1 - 0.1 / (i + 1) for i in range(len(rates)))
    return Curve(name, tuple(rates), quality, ms_ssim)


CURVES = [
    curve("JPEG", (0.3, 0.6, 1.2, 2.4), 26),
    curve("overfit c3", (0.1, 0.2, 0.4, 0.8), 29),
    curve("ELIC", (0.15, 0.3, 0.6, 0.9), 30),
]
COSTS = [
    Cost("VTM", None, 0.0),
    Cost("BPG", None, 22.0),
    Cost("HM", None, 23.0),
    Cost("C3", 1770, 5.2),
    Cost("Cool-chic 3.4", 1303, 1.0),
    Cost("overfit c3", 1500, -2.0),
    Cost("EVC-M", 123774, 0.3),
    Cost("EVC-L", 257941, -0.9),
    Cost("CST", 583058, 3.7),
    Cost("MLIC+", 555340, -13.1),
]


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


# -- Rate and distortion ---------------------------------------------------------------------------


def test_all_points_are_drawn_by_rate():
    shuffled = Curve("x", (0.4, 0.1, 0.2), (34.0, 28.0, None), (None, None, None))
    line = lines(rd_figure([shuffled, *CURVES]))["x"]
    assert line.get_xydata().tolist() == [[0.1, 28], [0.4, 34]]


def test_ms_ssim_is_drawn_in_db_and_the_axes_say_so():
    figure = rd_figure(CURVES, "ms_ssim", title="A set")
    axes = figure.axes[0]
    assert axes.get_ylabel() == "MS-SSIM (dB)"
    assert axes.get_xlabel() == "rate (bits per pixel)"
    assert axes.get_title(loc="left") == "A set"
    heights = lines(figure)["ELIC"].get_ydata()
    np.testing.assert_allclose(heights, 10 * np.log10([10, 20, 30, 40]))


def test_logarithmic_rates_have_plain_labels():
    figure = rd_figure(CURVES, log_rate=True)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    labels = {text.get_text() for text in axes.get_xticklabels()}
    assert {"0.1", "0.2", "0.5"} <= labels


def test_the_legend_has_the_order_of_the_lines():
    assert legend(rd_figure(CURVES)) == ["overfit c3", "ELIC", "JPEG"]


def test_our_own_curves_stand_out():
    drawn = lines(rd_figure(CURVES))
    ours = drawn.pop("overfit c3")
    for other in drawn.values():
        assert ours.get_linewidth() > other.get_linewidth()
        assert ours.get_zorder() > other.get_zorder()
        assert ours.get_color() != other.get_color()


def test_the_axes_keep_to_our_rates_and_still_show_some_of_every_curve():
    low, high = rd_figure(CURVES).axes[0].get_xlim()
    assert low == 0
    assert 0.8 < high < 1.2  # JPEG goes on to 2.4
    far = curve("far", (5.0, 6.0, 90.0), 40)
    assert 6 < rd_figure([*CURVES, far]).axes[0].get_xlim()[1] < 10
    others = [CURVES[0], CURVES[2]]
    assert rd_figure(others).axes[0].get_xlim()[1] > 2.4


@pytest.mark.parametrize("log_rate", [False, True])
def test_single_points_can_be_drawn(log_rate):
    figure = rd_figure([Curve("overfit", (0.5,), (30.0,), (None,))], log_rate=log_rate)
    (left, right), (bottom, top) = figure.axes[0].get_xlim(), figure.axes[0].get_ylim()
    assert left < 0.5 < right and bottom < 30 < top
    assert figure_svg(figure)


def test_many_curves_can_be_told_apart():
    drawn = lines(rd_figure([curve(f"codec {i}", (0.1, 1.0), 30 + i) for i in range(30)]))
    looks = [(line.get_color(), line.get_marker()) for line in drawn.values()]
    assert len(set(looks)) == len(looks)


def test_a_codec_looks_the_same_in_every_figure():
    alone, together = (lines(rd_figure(c))["ELIC"] for c in ([CURVES[2]], CURVES[::-1]))
    assert (alone.get_color(), alone.get_marker()) == (together.get_color(), together.get_marker())


def test_curves_without_the_metric_are_left_out():
    blind = Curve("blind", (0.1, 0.2), (30.0, 31.0), (None, None))
    assert "blind" not in legend(rd_figure([blind, *CURVES], "ms_ssim"))
    with pytest.raises(UserError, match="no curve has MS-SSIM"):
        rd_figure([blind], "ms_ssim")


# -- Complexity ------------------------------------------------------------------------------------


def texts(figure):
    return {text.get_text(): text for text in figure.axes[0].texts}


def test_codecs_stand_at_their_cost_and_bd_rate():
    figure = complexity_figure(COSTS, "VTM", title="Kodak")
    axes = figure.axes[0]
    marks = {tuple(line.get_xydata()[0]) for line in axes.get_lines() if len(line.get_xdata()) == 1}
    assert marks == {(cost.macs_per_pixel, cost.bd_rate) for cost in COSTS[3:]}
    levels = {line.get_ydata()[0] for line in axes.get_lines() if len(line.get_xdata()) == 2}
    assert levels == {0, 22, 23}
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "BD-rate against VTM (%)"
    assert set(texts(figure)) == {cost.name for cost in COSTS}


def test_the_anchor_is_the_line_at_0_even_if_it_is_not_listed():
    figure = complexity_figure([Cost("C3", 1770, 5.2)], "VTM")
    assert set(texts(figure)) == {"C3", "VTM"}


def test_names_do_not_cover_each_other():
    figure = complexity_figure(COSTS, "VTM")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts(figure).values()]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_no_costs_at_all_are_refused():
    with pytest.raises(UserError, match="macs_per_pixel"):
        complexity_figure(COSTS[:3], "VTM")


# -- Files -----------------------------------------------------------------------------------------


def test_equal_curves_give_equal_svg():
    """Reports are compared and kept under version control."""
    first, second = (figure_svg(rd_figure(CURVES, title="A")) for _ in range(2))
    assert first == second
    assert first.startswith("<?xml") and "<dc:date>" not in first
    assert first != figure_svg(rd_figure(CURVES, title="B"))


def test_files_of_both_formats(tmp_path):
    figure = rd_figure(CURVES)
    save_figure(tmp_path / "a.svg", figure)
    assert (tmp_path / "a.svg").read_text() == figure_svg(figure)
    save_figure(tmp_path / "a.PNG", figure)
    with Image.open(tmp_path / "a.PNG") as image:
        assert image.format == "PNG" and min(image.size) > 800
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50


@pytest.mark.parametrize("name", ["a.pdf", "a", "missing/a.png"])
def test_files_that_cannot_be_written(tmp_path, name):
    with pytest.raises(UserError, match="cannot write"):
        save_figure(tmp_path / name, rd_figure(CURVES))
    assert not list(tmp_path.iterdir())


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    """A program that draws its own figures keeps its own style."""
    before = dict(matplotlib.rcParams)
    figure_svg(rd_figure(CURVES))
    complexity_figure(COSTS, "VTM")
    assert dict(matplotlib.rcParams) == before
