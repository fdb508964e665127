"""Figures: rate-distortion curves, and the cost of decoding against BD-rate.

Curves of this project, whose names begin with "overfit", are drawn heavier and above the others.
"""

import io
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from overfit.errors import UserError
from overfit.io.atomic import atomic_write
from overfit.report.curves import Curve, points

try:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
except ImportError as error:
    raise UserError("figures need matplotlib; install it with pip install '.[report]'") from error

SUFFIXES = (".png", ".svg")

_OURS = "#d1002f"
_COLORS = (  # distinct on white and for most color-blind readers; red is kept for our own
    "#1f6fb4", "#e08214", "#2a9d5c", "#7b4ea3", "#8c5a3c", "#d6579c", "#5f6b73", "#a8a116", "#17a2b8",
)  # fmt: skip
_MARKERS = "os^Dv<>Ph"
_CLASSICAL = ("JPEG", "WebP", "BPG", "HM", "HEVC", "VTM", "AV1", "AVIF", "x26")
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.hashsalt": "overfit",  # names of elements do not vary
    "svg.fonttype": "path",
}


def is_ours(name: str) -> bool:
    """Whether a curve is to be emphasized as one of this project."""
    return name.lower().startswith("overfit")
