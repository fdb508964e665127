import pytest

from overfit.report.comparison import compare
from overfit.report.curves import Curve

BPP = (0.1, 0.2, 0.4, 0.8)
ANCHOR = Curve("VTM", BPP, (28.0, 31.0, 34.0, 37.0), (0.9, 0.95, 0.975, 0.99))


def test_each_curve_gets_its_bd_rate_with_the_anchor_and_the_overlap():
    half = Curve("half", tuple(rate / 2 for rate in BPP[:2]), ANCHOR.psnr[:2], (None, None))
    (entry,) = compare(ANCHOR, [half])
    assert (entry.name, entry.anchor, entry.metric) == ("half", "VTM", "psnr")
    assert entry.interpolation == "pchip"
    assert entry.bd_rate == pytest.approx(-50)
    assert entry.overlap == pytest.approx(1 / 3)
    assert entry.error is None


def test_ms_ssim_is_compared_in_db():
    """As 0..1, the high rates, where it saturates, would count for nothing."""
    # In dB this anchor rises by 3 per doubling of the rate, and the other curve lies 3 above it.
    anchor = ANCHOR._replace(ms_ssim=tuple(1 - 0.01 / rate for rate in BPP))
    better = anchor._replace(ms_ssim=tuple(1 - 0.005 / rate for rate in BPP))
    (entry,) = compare(anchor, [better], "ms_ssim", "akima")
    assert entry.bd_rate == pytest.approx(-50)
    assert (entry.metric, entry.interpolation) == ("ms_ssim", "akima")


def test_one_curve_that_cannot_be_compared_does_not_stop_the_others():
    curves = [
        ANCHOR._replace(name="better", bpp=tuple(0.9 * rate for rate in BPP)),
        Curve("above", (0.1, 0.2), (50.0, 60.0), (None, None)),
        Curve("no psnr", (0.1, 0.2), (None, None), (0.9, 0.95)),
    ]
    better, above, no_psnr = compare(ANCHOR, curves)
    assert better.bd_rate == pytest.approx(-10)
    assert above.bd_rate is None and above.overlap is None and "in common" in above.error
    assert "0 points" in no_psnr.error
