"""Figures: rate-distortion curves, and the cost of decoding against BD-rate.

Curves of this project, whose names begin with "overfit", are drawn heavier and above the others.
"""

import io
import textwrap
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from overfit.errors import UserError
from overfit.io.atomic import atomic_write
from overfit.report.curves import Curve, points

try:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator
except ImportError as error:
    raise UserError("figures need matplotlib; install it with pip install '.[report]'") from error

SUFFIXES = (".png", ".svg")

_LEGEND = 40  # characters of a line of it: names of fits list all their settings
_OURS = "#d1002f"
_COLORS = (  # distinct on white and for most color-blind readers; red is kept for our own
    "#1f6fb4", "#e08214", "#2a9d5c", "#7b4ea3", "#8c5a3c", "#d6579c", "#a8a116", "#17a2b8",
)  # fmt: skip
_GRAYS = ("#222222", "#6f6f6f", "#a3a3a3")  # of classical codecs, which are dashed
_MARKERS = "os^Dv<>Ph"
_CLASSICAL = (
    "jpeg",
    "jxl",
    "webp",
    "bpg",
    "hm",
    "hevc",
    "vtm",
    "vvenc",
    "av1",
    "avif",
    "svt",
    "x26",
)
_STYLE: dict[Any, Any] = {
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


class Cost(NamedTuple):
    """One codec in `complexity_figure`."""

    name: str
    macs_per_pixel: float | None  # of the decoder; None (a classical codec): a level, not a point
    bd_rate: float  # per cent


# -- Rate and distortion ---------------------------------------------------------------------------


def rd_figure(
    curves: Sequence[Curve],
    metric: str = "psnr",
    log_rate: bool = False,
    title: str = "",
    faint: Collection[str] = (),
) -> Figure:
    """Quality against rate, one line per curve; the legend is in the order of the lines.

    With a curve of our own the axes keep to its rates; others run out of the picture.

    Args:
      metric: one of `curves.METRICS`; MS-SSIM is shown in dB.
      log_rate: whether the axis of the rate is logarithmic.
      faint: names of curves that stand behind the others, dashed and light.

    Raises:
      UserError: no curve has a point with this metric.
    """
    lines = [(curve.name, np.array(points(curve, metric))) for curve in curves]
    lines = [(name, line) for name, line in lines if line.size]
    if not lines:
        raise UserError(f"there is nothing to draw: no curve has {label(metric)}; choose others")
    middle = np.median(np.concatenate([np.log(line[:, 0]) for _, line in lines]))
    lines.sort(key=lambda item: -np.interp(middle, np.log(item[1][:, 0]), item[1][:, 1]))
    looks = _looks([curve.name for curve in curves])  # the same for every metric
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.5, 5.2), layout="constrained")
        axes = figure.add_subplot()
        for name, line in lines:
            axes.plot(
                line[:, 0], line[:, 1], label=textwrap.fill(name, _LEGEND),
                **_line_style(name, looks[name], name in faint),
            )  # fmt: skip
        if log_rate:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
            axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
        _set_window(axes, lines, log_rate)
        axes.set(xlabel="rate (bits per pixel)", ylabel=f"{label(metric)} (dB)", title=title)
        figure.legend(loc="outside right upper", fontsize=8.5, handlelength=2.6)
        _fix_layout(figure)
    return figure


def label(metric: str) -> str:
    """The name of a metric for people."""
    return {"psnr": "PSNR", "ms_ssim": "MS-SSIM", "psnr_yuv": "PSNR of YUV 6:1:1"}[metric]


def is_ours(name: str) -> bool:
    """Whether a curve is to be emphasized as one of this project."""
    return name.lower().startswith("overfit")


def _is_classical(name: str) -> bool:
    return name.lower().startswith(_CLASSICAL)


def _looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(color, marker) of each name: drawn from the name, so that figures agree where they can."""
    looks, uses = {}, Counter()
    for name in sorted(set(names)):
        palette = (_OURS,) if is_ours(name) else _GRAYS if _is_classical(name) else _COLORS
        start = zlib.crc32(name.encode("utf-8", "replace"))
        order = [palette[(start + i) % len(palette)] for i in range(len(palette))]
        color = min(order, key=lambda color: uses[color])  # the first of the least used
        looks[name] = color, _MARKERS[(palette.index(color) + uses[color]) % len(_MARKERS)]
        uses[color] += 1
    return looks


def _line_style(name: str, look: tuple[str, str], faint: bool) -> dict:
    color, marker = look
    if faint:
        return {"color": color, "marker": marker, "ms": 3, "lw": 0.9, "ls": "--", "alpha": 0.6}
    if is_ours(name):
        return {"color": color, "marker": marker, "ms": 6, "lw": 2.4, "zorder": 3}
    style = "--" if _is_classical(name) else "-"
    return {"color": color, "marker": marker, "ms": 4, "lw": 1.1, "ls": style}


def _set_window(axes, lines: Sequence[tuple[str, np.ndarray]], log_rate: bool) -> None:
    """Limits of the axes: the rates of our own curves, and two points of every other."""
    shown = [line for name, line in lines if is_ours(name)] or [line for _, line in lines]
    low = min(line[0, 0] for line in shown)
    high = max(line[-1, 0] for line in shown)
    low = min(low, *(line[-2:, 0].min() for _, line in lines), high)
    high = max(high, *(line[:2, 0].max() for _, line in lines), low)
    low, high = (low / 1.15, high * 1.15) if log_rate else (0.0, high * 1.05)
    heights = [  # of every curve where it crosses the window
        np.interp(np.clip(line[:, 0], low, high), line[:, 0], line[:, 1]) for _, line in lines
    ]
    bottom, top = np.concatenate(heights).min(), np.concatenate(heights).max()
    margin = 0.04 * (top - bottom) or 1.0
    axes.set(xlim=(low, high), ylim=(bottom - margin, top + margin))


# -- Complexity ------------------------------------------------------------------------------------


def complexity_figure(costs: Sequence[Cost], anchor: str, title: str = "") -> Figure:
    """BD-rate against the cost of decoding, each codec by its name (as in Figure 1 of C3's paper).

    Args:
      costs: the codecs; those without MACs become horizontal lines.
      anchor: name of the curve that the BD-rates refer to, drawn as the line at 0.

    Raises:
      UserError: no codec has MACs.
    """
    marks = [(cost, cost.macs_per_pixel) for cost in costs if cost.macs_per_pixel]
    if not marks:
        raise UserError("there is nothing to draw: no codec has 'macs_per_pixel'; choose others")
    levels = {cost.name: cost.bd_rate for cost in costs if not cost.macs_per_pixel} | {anchor: 0.0}
    looks = _looks([cost.name for cost in costs])
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.0, 4.8), layout="constrained")
        axes = figure.add_subplot(xscale="log")
        for cost, macs in marks:
            color, marker = looks[cost.name]
            size = 10 if is_ours(cost.name) else 8
            axes.plot(macs, cost.bd_rate, marker, color=color, ms=size, mec="white", zorder=3)
        for level in levels.values():
            axes.axhline(level, color="#888888", lw=0.9, ls="--", zorder=1)
        axes.margins(0.15, 0.08)  # room for the names
        low, high = axes.get_xlim()
        widen = max(1.0, (10 / (high / low)) ** 0.5)  # to a decade, which has labels
        axes.set_xlim(low / widen, high * widen)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set(
            xlabel="decoder (MAC per pixel)", ylabel=f"BD-rate against {anchor} (%)", title=title
        )
        _name_levels(axes, levels)
        _fix_layout(figure)
        _name_marks(axes, marks, looks, levels.values())
    return figure


def _name_levels(axes, levels: dict[str, float]) -> None:
    """Names at the right of horizontal lines, moved apart where lines are close."""
    bottom, top = axes.get_ylim()
    names = sorted(levels, key=levels.__getitem__)
    steps = 0.045 * (top - bottom) * np.arange(len(names))
    # The least squared displacement that keeps the distance between neighbors.
    places = isotonic_regression([levels[name] for name in names] - steps).x + steps
    for name, place in zip(names, places, strict=True):
        axes.annotate(
            name, (1, levels[name]), (1.025, place), xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(), va="center", color="#555555", fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": "#888888", "lw": 0.7, "shrinkB": 0},
        )  # fmt: skip


def _name_marks(axes, marks, looks, levels) -> None:
    """Names beside the marks, each at the side where it covers least."""
    frame = axes.get_window_extent()
    half = 5 * axes.figure.dpi / 72  # px; half a mark
    places = axes.transData.transform([(macs, cost.bd_rate) for cost, macs in marks])
    taken = [(x - half, y - half, x + half, y + half) for x, y in places]
    for level in levels:
        _, y = axes.transData.transform((1, level))
        taken.append((frame.x0, y - 1, frame.x1, y + 1))
    sides = [
        (8, 0, "left", "center"), (-8, 0, "right", "center"), (0, 8, "center", "bottom"),
        (0, -8, "center", "top"), (6, 5, "left", "bottom"), (6, -5, "left", "top"),
        (-6, 5, "right", "bottom"), (-6, -5, "right", "top"),
    ]  # fmt: skip
    for cost, macs in marks:
        text = axes.annotate(
            cost.name, (macs, cost.bd_rate), (0, 0), textcoords="offset points", fontsize=8.5,
            color=looks[cost.name][0], weight="bold" if is_ours(cost.name) else "normal",
            path_effects=[withStroke(linewidth=2.5, foreground="white")], zorder=4,
        )  # fmt: skip

        def place(side, text=text):
            x, y, ha, va = side
            text.set(position=(x, y), ha=ha, va=va)
            return text.get_window_extent().extents

        place(min(sides, key=lambda side: _clashes(place(side), taken, frame)))
        taken.append(tuple(text.get_window_extent().extents))


def _clashes(box, taken, frame) -> int:
    """How many boxes (left, bottom, right, top) a box covers; leaving the frame counts most."""
    left, bottom, right, top = box
    covered = sum(left < r and x < right and bottom < t and y < top for x, y, r, t in taken)
    inside = frame.x0 <= left and right <= frame.x1 and frame.y0 <= bottom and top <= frame.y1
    return covered if inside else covered + len(taken)


def _fix_layout(figure: Figure) -> None:
    """Lays the figure out, once: otherwise it moves a little whenever it is drawn again."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


# -- Steps -----------------------------------------------------------------------------------------


def steps_figure(points: Sequence[tuple[int, float]], anchor: str, title: str = "") -> Figure:
    """BD-rate against the steps of the fit, on a logarithmic axis (as in Figure 23 of C3's paper).

    Args:
      points: (steps, BD-rate in per cent).
    """
    steps, rates = zip(*sorted(points), strict=True)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6.0, 4.0), layout="constrained")
        axes = figure.add_subplot(xscale="log")
        axes.plot(steps, rates, marker="o", color=_OURS, lw=2.0, ms=6)
        axes.set_xticks(steps, [f"{count:g}" for count in steps])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="steps", ylabel=f"BD-rate against {anchor} (%)", title=title)
        _fix_layout(figure)
    return figure


# -- Files -----------------------------------------------------------------------------------------


def figure_svg(figure: Figure) -> str:
    """The figure as SVG text; equal figures give equal text."""
    return _render(figure, "svg").decode()


def save_figure(path, figure: Figure) -> None:
    """Writes a figure as .png or .svg, whole or not at all.

    Raises:
      UserError: another suffix, or the file cannot be written.
    """
    check_figure_output(path)
    data = _render(figure, Path(path).suffix.lower()[1:])
    with atomic_write(path) as file:
        file.write(data)


def check_figure_output(path) -> None:
    """Raises UserError unless figures can be written in the format that the suffix names."""
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UserError(f"cannot write '{path}': a figure is {' or '.join(SUFFIXES)}; rename it")


def _render(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()
