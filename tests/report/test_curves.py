import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overfit.errors import UserError
from overfit.report.curves import Curve, points, read_curve, write_curve

COMPRESSAI = {  # the form of its results for images
    "name": "mbt2018",
    "description": "Inference (ans)",
    "results": {
        "psnr-rgb": [28.1, 31.4],
        "ms-ssim-rgb": [0.92, 0.97],
        "bpp": [0.11, 0.29],
        "encoding_time": [2.5, 2.6],
        "decoding_time": [5.5, 5.6],
    },
}


@pytest.fixture
def stored(tmp_path):
    """Writes a JSON document, or text as it stands, and returns its path."""

    def store(document, name="curve.json"):
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return store


def results(**columns):
    return {"results": {key.replace("_", "-"): value for key, value in columns.items()}}


# -- Reading ---------------------------------------------------------------------------------------


def test_results_of_compressai(stored):
    assert read_curve(stored(COMPRESSAI)) == Curve(
        "mbt2018",
        (0.11, 0.29),
        (28.1, 31.4),
        (0.92, 0.97),
        "Inference (ans)",
        encoding_time=(2.5, 2.6),
        decoding_time=(5.5, 5.6),
    )


def test_short_keys_and_lists_without_results_around_them(stored):
    """As in the tables of several other projects; the name is that of the file."""
    curve = read_curve(
        stored({"bpp": [1, 2], "psnr": [30, 33], "ms-ssim": [0.9, 0.95]}, "a.b.json")
    )
    assert curve == Curve("a.b", (1, 2), (30, 33), (0.9, 0.95))


def test_ms_ssim_in_db(stored):
    curve = read_curve(stored(results(bpp=[1, 2], ms_ssim_db_rgb=[10, 20])))
    assert curve.ms_ssim == pytest.approx((0.9, 0.99))
    assert curve.psnr == (None, None)
    assert [quality for _, quality in points(curve, "ms_ssim")] == pytest.approx([10, 20])


def test_what_is_not_known_or_not_finite_is_none(stored):
    text = '{"results": {"bpp": [1, 2, 3], "psnr-rgb": [30, null, Infinity]}}'
    assert read_curve(stored(text)).psnr == (30, None, None)


def test_video_with_kbits_per_second(stored):
    path = stored(results(bitrate=[248.832, 2488.32], psnr_rgb=[30, 33]))
    with pytest.raises(UserError, match="curve.json.* 'bitrate' and no 'bpp'.*pixels-per-second"):
        read_curve(path)
    curve = read_curve(path, pixels_per_second=1920 * 1080 * 120)
    assert curve.bpp == pytest.approx((0.001, 0.01))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "not a JSON file"),
        ('{"results": {"bpp": [1', "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("\udcff", "not a JSON file"),
        ([1, 2], "no object 'results'"),
        ({"results": [1, 2]}, "no object 'results'"),
        ({"name": "table of several", "C3": {"bpp": [1]}}, "no list 'bpp'"),
        (results(bpp=0.5, psnr_rgb=30), "no list 'bpp'"),
        (results(bpp=[], psnr_rgb=[]), "'bpp' is not a list of rates above 0"),
        (results(bpp=[0.0, 1], psnr_rgb=[20, 30]), "rates above 0"),
        (results(bpp=[None, 1], psnr_rgb=[20, 30]), "rates above 0"),
        (results(bpp=[1, 2], psnr_rgb=[30]), "'psnr-rgb' has 1 values and there are 2 rates"),
        (results(bpp=[1, 2], psnr_rgb="30 33"), "no list 'psnr-rgb'"),
        (results(bpp=[1, 2], psnr_rgb=["30", "33"]), "'psnr-rgb' has a value that is no number"),
        (results(bpp=[1, True], psnr_rgb=[30, 33]), "'bpp' has a value that is no number"),
        (results(bpp=[1, 10**400], psnr_rgb=[30, 33]), "'bpp' has a number that is too large"),
        (results(bpp=[1, 2], ms_ssim_rgb=[9.1, 14.8]), "MS-SSIM is not within 0..1"),
        (results(bpp=[1]) | {"macs_per_pixel": "many"}, "'macs_per_pixel' has a value"),
    ],
)
def test_other_files_are_named_with_what_is_wrong(tmp_path, document, message):
    path = tmp_path / "curve.json"
    text = document if isinstance(document, str) else json.dumps(document)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=f"curve.json.*{message}"):
        read_curve(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="nowhere.json.*No such file"):
        read_curve(tmp_path / "nowhere.json")
    with pytest.raises(UserError, match="directory"):
        read_curve(tmp_path)


# -- Writing ---------------------------------------------------------------------------------------


@st.composite
def any_curve(draw):
    count = draw(st.integers(1, 6))

    def column(low, high):
        return tuple(
            draw(st.lists(st.none() | st.floats(low, high), min_size=count, max_size=count))
        )

    return Curve(
        draw(st.text(min_size=1)),
        tuple(draw(st.lists(st.floats(1e-6, 1e3), min_size=count, max_size=count))),
        column(-10, 110),
        column(0, 1),
        draw(st.text()),
        draw(st.text()),
        draw(st.none() | st.floats(0, 1e9)),
        draw(st.just(()) | st.just(column(0, 1e6))),
        draw(st.just(()) | st.just(column(0, 1e6))),
    )


@settings(deadline=None, max_examples=40)
@given(curve=any_curve())
def test_what_is_written_is_read_again(tmp_path_factory, curve):
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_curve(path, curve)
    assert read_curve(path) == curve


def test_compressai_can_plot_our_files(tmp_path):
    """What its parser takes: `results.bpp` and `results[metric]`, the MS-SSIM in arithmetic."""
    write_curve(tmp_path / "ours.json", Curve("ours", (0.1, 0.2), (30.0, 33.0), (0.9, 0.99)))
    document = json.loads((tmp_path / "ours.json").read_text())
    assert document["name"] == "ours"
    assert document["results"]["bpp"] == [0.1, 0.2]
    assert document["results"]["psnr-rgb"] == [30, 33]
    ms_ssim_db = -10 * np.log10(1 - np.array(document["results"]["ms-ssim-rgb"]))
    np.testing.assert_allclose(ms_ssim_db, [10, 20])


def test_a_metric_that_is_not_known_is_left_out(tmp_path):
    """CompressAI then says that the metric is not available, rather than fail on nulls."""
    write_curve(tmp_path / "ours.json", Curve("ours", (0.1,), (30.0,), (None,)))
    assert set(json.loads((tmp_path / "ours.json").read_text())["results"]) == {"bpp", "psnr-rgb"}


def test_files_are_json_for_every_reader(tmp_path):
    """JSON has no infinity: a lossless point has no PSNR there."""
    path = tmp_path / "ours.json"
    write_curve(path, Curve("ours", (0.1, 9.0), (30.0, math.inf), (0.9, 1.0)))
    document = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert document["results"]["psnr-rgb"] == [30, None]


def test_columns_of_different_length_are_refused(tmp_path):
    with pytest.raises(ValueError, match="psnr-rgb has 1 values, bpp has 2"):
        write_curve(tmp_path / "ours.json", Curve("ours", (0.1, 0.2), (30.0,), (None, None)))
    assert not list(tmp_path.iterdir())


# -- Points ----------------------------------------------------------------------------------------


def test_points_are_what_can_be_drawn_and_compared():
    curve = Curve("c", (3, 1, 2, 4), (36.0, 30.0, None, math.inf), (0.99, 0.9, 0.999, 1.0))
    assert points(curve, "psnr") == [(1, 30), (3, 36)]
    rates, qualities = zip(*points(curve, "ms_ssim"), strict=True)
    assert rates == (1, 2, 3)
    assert qualities == pytest.approx((10, 30, 20))
