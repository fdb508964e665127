"""Rate and distortion of the reference codec on a folder of images, beside classical codecs.

    python experiments/reference.py ../shared/data/images/kodak --base NAME
    python experiments/reference.py ../shared/data/images/kodak --base NAME --adapt 200

Every base given (variants of Fig. 7: `overfit pretrain --set entropy.reference=false ...`) is a
curve at the trade-offs that it was trained for, in wavefront order; the first one in raster order,
too, and with --adapt also adapted to each image. Points are files that were decoded again; curves
are means over the images, and BD-rates refer to the first base and to JPEG, WebP, AVIF and x265
intra. What has been measured is kept, so that a run that was stopped goes on.
"""

import argparse
from pathlib import Path

import common

from overfit.bases import library
from overfit.codecs import codec as codecs
from overfit.fitting.encode import encode
from overfit.fitting.groups import Options, Request
from overfit.io.images import load_image
from overfit.metrics.ms_ssim import ms_ssim
from overfit.metrics.psnr import psnr
from overfit.report.comparison import compare
from overfit.report.curves import Curve

ANCHORS = {  # values of the codecs' knobs, from small files to large ones
    "jpeg": (5, 12, 30, 55, 80),
    "webp": (1, 10, 30, 60, 85),
    "avif": (20, 35, 50, 65, 80),
    "hevc-intra": (44, 39, 34, 29, 24),
}
KEPT = ("bytes", "bpp", "psnr", "ms_ssim", "seconds", "adapted", "bits")


def classical(image, name: str, value: float) -> dict:
    codec = codecs.load(name)
    data = codec.encode(image, value)
    shown = codec.decode(data, image.shape)
    return {
        "bytes": len(data),
        "bpp": 8 * len(data) / image[..., 0].size,
        "psnr": psnr(image, shown),
        "ms_ssim": ms_ssim(image, shown),
    }


def ours(image, base: str, lmbda: float, steps: int, order: str) -> dict:
    options = Options("reference", None, lmbda, steps, 0, {"order": order}, base=base)
    (result,) = encode([Request(image, options)])
    return {key: result.about[key] for key in KEPT}


def curve(name: str, points: list[list[dict]]) -> Curve:
    """Means over the images of every setting."""

    def mean(key: str) -> tuple[float, ...]:
        return tuple(sum(p[key] for p in images) / len(images) for images in points)

    return Curve(name, mean("bpp"), mean("psnr"), mean("ms_ssim"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--base", nargs="+", required=True, help="as `overfit bases list` has them")
    parser.add_argument("--adapt", type=int, metavar="STEPS")
    arguments = parser.parse_args()
    paths = sorted(Path(arguments.folder).glob("*.png"))
    images = {path.stem: load_image(str(path)) for path in paths}
    settings = {name: library.find(name).identity for name in arguments.base}
    records = common.stored("reference", settings).get("records", {})

    def point(label: str, value: float, measure, *more) -> list[dict]:
        """Of all images at one setting."""
        for name, image in images.items():
            key = f"{label} {value:g} {name}"
            if key not in records:
                records[key] = measure(image, *more)
                print(key, {k: records[key][k] for k in ("bytes", "psnr")}, flush=True)
                common.save("reference", {"records": records}, settings=settings)
        return [records[f"{label} {value:g} {name}"] for name in images]

    curves = [
        curve(name, [point(name, value, classical, name, value) for value in values])
        for name, values in ANCHORS.items()
    ]
    mine = []
    for name in arguments.base:
        variants = [("wavefront", 0)]
        if name == arguments.base[0]:
            variants += [("raster", 0)]
            variants += [("wavefront", arguments.adapt)] if arguments.adapt else []
        lmbdas = library.find(name).load().settings["rates.lmbdas"]
        for order, steps in variants:
            label = f"{name}, {order}, {steps} steps"
            points = [point(label, lmbda, ours, name, lmbda, steps, order) for lmbda in lmbdas]
            mine.append(curve(label, points))
    comparisons = [
        c
        for metric in ("psnr", "ms_ssim")
        for anchor in (mine[0], *curves)
        for c in compare(anchor, mine, metric)
    ]
    for c in comparisons:
        found = c.error or f"{c.bd_rate:+.1f} %"
        print(f"{c.name:40s} against {c.anchor:32s} {c.metric:8s} {found}")
    results = {
        "records": records,
        "curves": [c._asdict() for c in (*curves, *mine)],
        "bd_rates": [c._asdict() for c in comparisons],
    }
    common.save("reference", results, settings=settings, pictures=list(images))


if __name__ == "__main__":
    main()
