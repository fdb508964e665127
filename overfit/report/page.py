"""One HTML page about the results of an evaluation, readable without a network.

The page is a template, `page.html`; here is what goes into it. Jinja escapes all text, so that the
name of a file or a curve cannot become markup.
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from overfit.errors import UserError
from overfit.report.comparison import Comparison, compare
from overfit.report.curves import METRICS, Curve, points
from overfit.report.found import Found, find, setting_text
from overfit.report.published import read_published
from overfit.report.summary import AVERAGING, average_curves, common_names

try:
    import jinja2

    from overfit.report import samples
    from overfit.report.inline_svg import inline_svg
    from overfit.report.plot import Cost, complexity_figure, is_ours, label, rd_figure
except ImportError as error:
    raise UserError(
        f"a report needs {error.name}; install what it needs with pip install '.[report]'"
    ) from error

INTERPOLATION = "pchip"


class Page(NamedTuple):
    """A report that is ready to be written."""

    html: str
    results: int
    anchor: str | None  # name of the curve that BD-rates refer to at first
    problems: list[str]  # what could not be read, one sentence each; on the page as well


def build(
    folder: str | os.PathLike[str],
    anchor: str | None = None,
    published: Sequence[str | os.PathLike[str]] = (),
    averaging: str = "mean",
    title: str | None = None,
) -> Page:
    """The report about a folder that `overfit evaluate` has filled.

    Args:
      folder: of results.jsonl and the coded files.
      anchor: name of the curve that BD-rates refer to at first; default: the first classical one.
      published: files of curves, or folders of them, to be shown beside.
      averaging: one of `AVERAGING`.
      title: of the page.

    Raises:
      UserError: the folder has no usable result, or there is no curve of the anchor's name.
    """
    found = find(folder)
    codecs = {record["label"]: record["codec"] for record in found.records}
    measured = [
        _renamed(curve, codecs[curve.name]) for curve in average_curves(found.records, averaging)
    ]
    beside = read_published(published, found.records)
    curves = _distinct([*measured, *beside.same, *beside.others])
    faint = {curve.name for curve in curves[len(measured) + len(beside.same) :]}
    start = _position(anchor, curves, len(measured))
    images = [record for record in found.records if record["kind"] == "image"]
    crops = samples.crops(images, folder, samples.CROPS_BUDGET)
    maps = samples.maps(images, folder, samples.MAPS_BUDGET)
    problems = list(
        dict.fromkeys([*found.problems, *beside.problems, *crops.problems, *maps.problems])
    )
    failures = [f"{f['name']}, {f['label']}, {f['setting']}: {f['error']}" for f in found.failures]
    # RGB figures always have their place, those of 4:2:0 clips where there are any.
    metrics = [m for m in METRICS if m != "psnr_yuv" or any(points(c, m) for c in curves)]
    comparisons = [[_compare(a, curves, m, faint) for m in metrics] for a in curves]
    with warnings.catch_warnings():
        # Names may be in any script; the reader's fonts show what matplotlib's cannot.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        html = _template().render(
            title=title or "Results on " + ", ".join(_distinct_values(found.records, "dataset")),
            facts=_facts(found, averaging),
            plots=_plots(curves, metrics, faint),
            metrics=[label(metric) for metric in metrics],
            interpolation=INTERPOLATION.upper(),
            curves=[
                _curve_row(curve, i >= len(measured), curve.name in faint)
                for i, curve in enumerate(curves)
            ],
            anchor=start,
            deltas=_deltas(comparisons, curves),
            # A figure per anchor takes a while and some kilobytes each: published ones have none.
            complexity={
                i: _complexity(psnr, curves)
                for i, (psnr, *_) in enumerate(comparisons)
                if i == start or curves[i].name not in faint
            },
            costs=_costs(found.records),
            records=found.records,
            setting_text=setting_text,
            labels=list(codecs),
            crops=crops,
            maps=maps,
            crop=samples.CROP,
            clips=_distinct_values((r for r in found.records if r["kind"] != "image"), "name"),
            failures=failures,
            gaps=found.gaps,
            problems=problems,
        )
    name = curves[start].name if curves else None
    return Page(html, len(found.records), name, problems)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _distinct_values(records: Iterable[dict], key: str) -> list[str]:
    return list(dict.fromkeys(record[key] for record in records))


# -- Curves ----------------------------------------------------------------------------------------


def _renamed(curve: Curve, codec: str) -> Curve:
    """Curves of this project are known by their names; see `overfit/report/plot.py`."""
    if codec != "overfit" or is_ours(curve.name):
        return curve
    return curve._replace(name=f"overfit {curve.name}")


def _compare(
    anchor: Curve, curves: Sequence[Curve], metric: str, faint: set[str]
) -> list[Comparison]:
    """BD-rates between curves of the same pictures; see `published.py`."""
    comparisons = compare(anchor, curves, metric, INTERPOLATION)
    return [
        c
        if (c.name in faint) == (anchor.name in faint)
        else c._replace(bd_rate=None, overlap=None, error="averages over different pictures")
        for c in comparisons
    ]


def _distinct(curves: Iterable[Curve]) -> list[Curve]:
    """The curves with a number behind every name that an earlier one has."""
    named: dict[str, Curve] = {}
    for curve in curves:
        name, number = curve.name, 1
        while name in named:
            number += 1
            name = f"{curve.name} ({number})"
        named[name] = curve._replace(name=name)
    return list(named.values())


def _position(anchor: str | None, curves: Sequence[Curve], measured: int) -> int:
    """Index of the anchor among the curves."""
    names = [curve.name for curve in curves]
    if anchor is None:
        classical = [i for i in range(measured) if not is_ours(names[i])]
        return classical[0] if classical else 0
    for name in (anchor, f"overfit {anchor}"):
        if name in names:
            return names.index(name)
    known = f"choose one of: {'; '.join(names)}" if names else "no curve can be averaged yet"
    raise UserError(f"there is no curve '{anchor}' to be the anchor; {known}")


def _curve_row(curve: Curve, published: bool, faint: bool) -> dict[str, Any]:
    return {
        "name": curve.name,
        "published": published,
        "faint": faint,  # of other pictures
        "about": "; ".join(filter(None, (curve.description, curve.source))),
        "points": len(curve.bpp),
        "low": min(curve.bpp),
        "high": max(curve.bpp),
    }


def _plots(
    curves: Sequence[Curve], metrics: Sequence[str], faint: set[str]
) -> list[dict[str, Any]]:
    """Quality over rate: {"metric", "axis", "svg"}, the last of them None without any point."""
    plots = []
    for metric in metrics:
        known = any(points(curve, metric) for curve in curves)
        for axis in ("linear", "log"):
            name = f"{metric}-{axis}"
            figure = rd_figure(curves, metric, axis == "log", faint=faint) if known else None
            svg = figure and inline_svg(figure, name, f"{label(metric)} over rate")
            plots.append({"metric": label(metric), "axis": axis, "svg": svg})
    return plots


def _complexity(comparisons: Sequence[Comparison], curves: Sequence[Curve]) -> Any:
    """BD-rate over MACs as SVG, for one anchor; None where nothing can be drawn."""
    costs = [
        Cost(curve.name, curve.macs_per_pixel, comparison.bd_rate)
        for curve, comparison in zip(curves, comparisons, strict=True)
        if comparison.bd_rate is not None
    ]
    if not any(cost.macs_per_pixel for cost in costs):
        return None
    anchor = comparisons[0].anchor
    figure = complexity_figure(costs, anchor)
    name = f"cost-{[curve.name for curve in curves].index(anchor)}"
    return inline_svg(figure, name, f"BD-rate against {anchor} over operations per pixel")


def _deltas(comparisons: Sequence[Sequence[Sequence[Comparison]]], curves: Sequence[Curve]):
    """[anchor][curve][metric] -> what the table says; from [anchor][metric][curve]."""
    known = {
        (curve.name, metric) for curve in curves for metric in METRICS if points(curve, metric)
    }
    return [
        [[_cell(comparison, known) for comparison in pair] for pair in zip(*columns, strict=True)]
        for columns in comparisons
    ]


def _cell(comparison: Comparison, known: set[tuple[str, str]]) -> dict[str, Any]:
    value, metric = comparison.bd_rate, comparison.metric
    if comparison.name == comparison.anchor:
        return {"value": 0, "text": "anchor", "note": "", "sign": ""}
    if value is None:
        lacks = [n for n in (comparison.anchor, comparison.name) if (n, metric) not in known]
        note = f"{lacks[0]} has no {label(metric)}" if lacks else comparison.error
        return {"value": None, "text": "n/a", "note": note, "sign": ""}
    return {
        "value": value,
        "text": f"{value:+.1f} %".replace("-", "\N{MINUS SIGN}"),
        "note": f"covers {100 * (comparison.overlap or 0):.0f} %",
        "sign": "fewer" if value < 0 else "more",
    }


# -- Records ---------------------------------------------------------------------------------------


def _facts(found: Found, averaging: str) -> list[tuple[str, str]]:
    """Names and values for the head of the page."""
    records = found.records
    names, common = _distinct_values(records, "name"), common_names(records)
    facts = [
        ("Data", f"{', '.join(_distinct_values(records, 'dataset'))}: {len(names)} inputs"),
        ("Results", f"{len(records)}, the last of {found.date}"),
        ("Averages", f"{averaging} ({AVERAGING[averaging]}), over {len(common)} inputs"),
        ("BD-rate", f"{INTERPOLATION.upper()} interpolation, MS-SSIM in dB"),
    ]
    devices = dict.fromkeys(str(r["device"]) for r in records if r.get("device"))
    versions = dict.fromkeys(_versions(r["versions"]) for r in records if r.get("versions"))
    facts += [("Machine", text) for text in devices] + [("Versions", text) for text in versions]
    return facts


def _versions(versions: Any) -> str:
    if not isinstance(versions, dict):
        return str(versions)
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _costs(records: Sequence[dict]) -> list[dict[str, Any]]:
    """Means over all results of each label."""
    groups: dict[str, list[dict]] = {}
    for record in records:
        groups.setdefault(record["label"], []).append(record)
    return [
        {
            "label": name,
            "results": len(group),
            "macs": _mean(group, "macs_per_pixel"),
            "encode": _mean(group, "seconds_encode"),
            "decode": _mean(group, "seconds_decode"),
            "megapixels": sum(r["pixels"] for r in group) / len(group) / 1e6,
        }
        for name, group in groups.items()
    ]


def _mean(records: Sequence[dict], key: str) -> float | None:
    values = [r[key] for r in records if r.get(key) is not None]
    return sum(values) / len(values) if values else None
