"""Rate-distortion points of the online-trained upsampler beside x265 (table 2 of its paper).

    python experiments/upsampler.py ../shared/data/video/BasketballPass_416x240_50fps_rgb

For every clip and QP: x265 veryslow at full resolution; x265 at half the resolution and QP - 5,
enlarged by a bilinear, bicubic or Lanczos filter; and the method, whose base that stream is. All
are files on disk, decoded again; RGB clips are converted to 4:2:0 first. Quality is PSNR of Y, U, V
weighted 6:1:1, and MS-SSIM of Y. The paper's clips are 1080p and larger; small ones favor x265 at
full resolution. A record is kept for each file in the folder of -o, so that a run that was stopped
goes on; all that are there make up experiments/results/upsampler.json.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import common
import numpy as np

from overfit import decoding
from overfit.codecs import base_stream
from overfit.codecs.base_stream import BaseStream
from overfit.errors import UserError
from overfit.fitting.encode import encode, forget
from overfit.fitting.frame_groups import quality
from overfit.fitting.groups import Options, Request
from overfit.io.atomic import atomic_write
from overfit.io.clips import Clip, as_yuv420, load_clip
from overfit.io.json_file import write_json
from overfit.methods.upsampler import preparation
from overfit.methods.upsampler.config import PRESETS
from overfit.metrics.bd_rate import bd_rate, overlap
from overfit.nn.resize import doubled
from overfit.settings import parse_assignments

FULL, HALF = "x265", "half x265"
FILTERS = ("bilinear", "bicubic", "lanczos3")
QPS = (22, 27, 32, 37)
METRICS = ("psnr_yuv", "psnr_y", "ms_ssim_y")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="*", help="files or folders of frames; none: only collect")
    parser.add_argument("--frames", type=int, help="the first ones")
    parser.add_argument("--qps", type=int, nargs="+", default=list(QPS))
    parser.add_argument("--steps", type=int, default=1250, help="of each fit; the paper's: 1250")
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--presets", nargs="+", default=["klopp21"])
    parser.add_argument("--set", action="append", default=[], help="as for encode")
    parser.add_argument("--base", help="as for encode")
    parser.add_argument("--no-anchors", action="store_true", help="the method only")
    parser.add_argument("-o", "--output", default="runs/upsampler", help="of files and records")
    arguments = parser.parse_args()
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    for path in arguments.clips:
        run_clip(Path(path), folder, arguments)
    collect(folder)


def run_clip(path: Path, folder: Path, arguments) -> None:
    """All files of a clip that are not there yet."""
    clip = as_yuv420(load_clip(path, arguments.frames))
    name = f"{path.name.split('.')[0]}_{clip.frames}f"
    for qp in arguments.qps:
        if not arguments.no_anchors:
            anchors(name, clip, qp, folder)
        for preset in arguments.presets:
            changes = {"group": arguments.group, **parse_assignments(arguments.set)}
            words = [preset, f"{arguments.steps} steps"]
            words += [f"{key}={value}" for key, value in changes.items()]
            words += [f"base {Path(arguments.base).stem}"] if arguments.base else []
            label = ", ".join(words)
            options = Options(
                "upsampler", preset, steps=arguments.steps, set=changes,
                base=arguments.base, checkpoint=str(folder / "checkpoints"), qp=qp,
            )  # fmt: skip
            keep(folder, name, label, qp, lambda options=options: fitted(clip, options, folder))


def anchors(name: str, clip: Clip, qp: int, folder: Path) -> None:
    config = PRESETS["klopp21"]
    small = preparation.smaller(clip, config)
    keep(folder, name, FULL, qp, lambda: coded(clip, clip, qp, None, folder))
    for method in FILTERS:
        make = lambda method=method: coded(clip, small, qp + config.base.qp_offset, method, folder)  # noqa: E731
        keep(folder, name, f"{HALF}, {method}", qp, make)


def keep(folder: Path, name: str, label: str, qp: int, make) -> None:
    """Makes and measures a file unless its record is there."""
    path = folder / f"{name}, {label}, {qp}.json".replace(" ", "_")
    if path.exists():
        return
    record = {"clip": name, "label": label, "qp": qp, **make()}
    write_json(path, record)
    print(name, label, qp, record["bytes"], f"{record['psnr_yuv']:.3f} dB", flush=True)


def coded(clip: Clip, source: Clip, qp: int, method: str | None, folder: Path) -> dict:
    """A file of x265 alone, enlarged by that filter if it is of half the resolution."""
    start = time.perf_counter()
    stream = base_stream.encode(source, qp)
    seconds = time.perf_counter() - start
    path = folder / "stream.hevc"
    with atomic_write(path) as file:
        file.write(stream.data)
    data = path.read_bytes()
    start = time.perf_counter()
    decoded = base_stream.decode(BaseStream(stream.codec, stream.checksum, data), source.shape)
    if method is not None:
        decoded = enlarged(decoded, clip, method)
    seconds_decode = time.perf_counter() - start
    return measured(clip, decoded, len(data)) | {
        "seconds_encode": seconds,
        "seconds_decode": seconds_decode,
    }


def enlarged(small: Clip, clip: Clip, method: str) -> Clip:
    """At twice the resolution, cropped to the size of the clip."""
    planes = []
    for plane, original in zip(small.planes, clip.planes, strict=True):
        frames = [np.rint(doubled(frame, method)).clip(0, 255).astype(np.uint8) for frame in plane]
        height, width = original.shape[1:]
        planes.append(np.stack(frames)[:, :height, :width])
    return Clip(tuple(planes), clip.fps)


def fitted(clip: Clip, options: Options, folder: Path) -> dict:
    """A file of the method."""
    request, last = Request(clip, options), [0.0]

    def show(step) -> None:
        if time.monotonic() - last[0] > 30:
            last[0] = time.monotonic()
            print(f"  step {step.step}/{step.total}, {step.psnr:.2f} dB", flush=True)

    start = time.perf_counter()
    (result,) = encode([request], show)
    seconds = time.perf_counter() - start
    path = folder / "clip.ovf"
    with atomic_write(path) as file:
        file.write(result.data)
    data = path.read_bytes()
    start = time.perf_counter()
    decoded = decoding.decode(data)
    seconds_decode = time.perf_counter() - start
    kept = ("bits", "params", "blocks", "base_codec", "steps_per_second", "seconds_compile")
    record = measured(clip, decoded, len(data)) | {key: result.about[key] for key in kept}
    forget(request)
    return record | {
        "steps": options.steps,
        "seconds_encode": seconds,
        "seconds_decode": seconds_decode,
    }


def measured(clip: Clip, decoded: Clip, size: int) -> dict:
    found = {k: v for k, v in quality(clip, decoded).items() if v is not None}
    pixels = clip.frames * clip.height * clip.width
    about = {"frames": clip.frames, "width": clip.width, "height": clip.height, "bytes": size}
    return about | {"bpp": 8 * size / pixels} | found


# -- From records to BD-rates ----------------------------------------------------------------------


def curves(folder: Path) -> Iterator[tuple[str, dict[str, list[dict]]]]:
    """(clip, {label: records by QP}) of all that are in the folder."""
    found: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        found[record["clip"]][record["label"]].append(record)
    for clip, labels in found.items():
        yield clip, {k: sorted(v, key=lambda r: r["qp"]) for k, v in labels.items()}


def compared(anchor: list[dict], test: list[dict], metric: str) -> dict:
    """BD-rate in per cent; MS-SSIM in dB, -10 log10 (1 - x), as the paper has it."""

    def points(records):
        values = [(r["bpp"], r.get(metric)) for r in records]
        if metric == "ms_ssim_y":
            values = [(b, v and -10 * np.log10(1 - v)) for b, v in values]
        return [(b, float(v)) for b, v in values if v is not None]

    a, b = points(anchor), points(test)
    try:
        return {"bd_rate": bd_rate(a, b), "overlap": overlap(a, b)}
    except UserError as error:
        return {"bd_rate": None, "error": str(error)}


def collect(folder: Path) -> None:
    clips = []
    for clip, labels in curves(folder):
        rates = {
            f"against {anchor}": {
                label: {metric: compared(labels[anchor], records, metric) for metric in METRICS}
                for label, records in labels.items()
                if label != anchor and len(records) > 1
            }
            for anchor in (FULL, f"{HALF}, bilinear")
            if anchor in labels
        }
        clips.append({"clip": clip, "bd_rates": rates, "points": labels})
        for anchor, own in rates.items():
            for label, found in own.items():
                rate = found["psnr_yuv"]["bd_rate"]
                print(clip, anchor, label, "no figure" if rate is None else f"{rate:+.1f} %")
    common.save("upsampler", clips)


if __name__ == "__main__":
    main()
