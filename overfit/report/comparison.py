"""Curves against an anchor: BD-rates with all that is needed to judge them."""

from collections.abc import Sequence
from typing import NamedTuple

from overfit.errors import UserError
from overfit.metrics.bd_rate import bd_rate, overlap
from overfit.report.curves import Curve, points


class Comparison(NamedTuple):
    """The BD-rate of one curve against an anchor."""

    name: str
    anchor: str
    metric: str  # "psnr" or "ms_ssim"
    interpolation: str
    bd_rate: float | None  # per cent of the anchor's rate; None where there is none
    overlap: float | None  # part of the anchor's range of quality that it speaks of, 0..1
    error: str | None  # why there is none


def compare(
    anchor: Curve, curves: Sequence[Curve], metric: str = "psnr", interpolation: str = "pchip"
) -> list[Comparison]:
    """Compares curves with an anchor; MS-SSIM in dB. One that cannot be compared says why."""
    return [_compare(anchor, curve, metric, interpolation) for curve in curves]


def _compare(anchor: Curve, curve: Curve, metric: str, interpolation: str) -> Comparison:
    rate = part = reason = None
    pair = points(anchor, metric), points(curve, metric)
    try:
        rate, part = bd_rate(*pair, interpolation), overlap(*pair)
    except UserError as error:
        reason = str(error)
    return Comparison(curve.name, anchor.name, metric, interpolation, rate, part, reason)
