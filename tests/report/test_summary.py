"""Averages over pictures."""

import numpy as np
import pytest

from overfit.report import summary


def _record(name, label, value, **figures):
    defaults = {"dataset": "kodak", "ms_ssim": None, "seconds_encode": 1.0, "seconds_decode": 0.5}
    bpp = 8 * figures["bytes"] / figures["pixels"]
    return {"name": name, "label": label, "setting": {"q": value}, "bpp": bpp} | defaults | figures


def test_the_two_averages_by_hand():
    small = _record("a", "x", 1.0, bytes=100, pixels=100, mse=1.0, psnr=48.1308)
    large = _record("b", "x", 1.0, bytes=600, pixels=300, mse=5.0, psnr=41.1411)
    (mean,) = summary.average_curves([small, large], "mean")
    assert mean.bpp == pytest.approx((12.0,)) and mean.psnr == pytest.approx((44.63595,))
    (pooled,) = summary.average_curves([small, large], "pooled")
    assert pooled.bpp == pytest.approx((14.0,))
    assert pooled.psnr == pytest.approx((10 * np.log10(255**2 / 4),))
    assert "mean squared error" in pooled.source and "kodak, 2 of 24: a, b" in pooled.description


def test_only_pictures_that_every_point_has_are_averaged():
    figures = {"pixels": 100, "mse": 1.0, "psnr": 48.0}
    records = [
        _record(name, label, value, bytes=size, **figures)
        for name, size in (("a", 100), ("b", 900))
        for label, value in (("x", 1.0), ("x", 2.0), ("y", 1.0))
    ]
    del records[4]  # b at x, 2.0
    assert summary.common_names(records) == ["a"]
    assert {curve.bpp for curve in summary.average_curves(records)} == {(8.0, 8.0), (8.0,)}
    assert summary.average_curves(records[:3] + [records[3] | {"label": "z"}]) == []
