"""STAT-SSF and its variants on clips: rate and distortion, with adaptation to each and without.

    python experiments/stat_ssf.py ../shared/data/video --bases ssf ssf-sp stat-ssf stat-ssf-sp
    python experiments/stat_ssf.py ../shared/data/video --bases stat-ssf-sp --parts drift short

Each base is a variant; all are trained alike. `curves`: every base at the trade-offs that it was
trained for, as it is and adapted for --steps steps, beside x264 and x265 medium without B-frames.
`drift`: what two instruction sets decode from one file of 48 frames. `short`: whether a clip of two
frames pays for changes of the receiver. PSNR is that of 8-bit RGB, a mean over frames; there is one
intra frame. All rates are those of files that were decoded again. What is done is found in --output
and not done again.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import common
import numpy as np
from c3_video import CLIPS, evaluated

from overfit.bases import library
from overfit.commands.common import prepare_jax
from overfit.errors import UserError
from overfit.evaluation import Plan
from overfit.fitting.encode import encode
from overfit.fitting.groups import Options, Request
from overfit.io.clip import Clip
from overfit.io.clip_writers import save_clip
from overfit.io.clips import as_rgb, load_clip
from overfit.io.datasets import Instance
from overfit.metrics.bd_rate import bd_rate
from overfit.metrics.psnr import psnr

PRESET = "stat-ssf-small"
ANCHORS = ("x265-medium-nobframes", "x264-medium-nobframes")
# OpenBLAS takes the kernels of another processor: vectors of 128 bits, of 256 with fused sums.
INSTRUCTION_SETS = ("Nehalem", "Haswell")
PARTS = ("curves", "drift", "short", "motion")
PREDICTED = 12  # frames, for `motion`


def in_rgb(path: Path, name: str, output: Path) -> Instance:
    """The clip as a folder of PNG frames, so that all codecs start from the same samples."""
    target = output / "clips" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        save_clip(target, as_rgb(load_clip(path)))
    return Instance("clips", name, str(target), "video")


def points(records: list[dict], name: str) -> list[tuple[float, float]]:
    return sorted((r["bpp"], r["psnr"]) for r in records if r["name"] == name)


def compared(anchor: list[dict], test: list[dict], name: str) -> float | str:
    """BD-rate in per cent on one clip, or why there is none."""
    try:
        return bd_rate(points(anchor, name), points(test, name))
    except UserError as error:
        return str(error)


def tables(anchors: dict[str, list[dict]], curves: dict[str, list[dict]], names) -> dict:
    """{clip: {"test against anchor": BD-rate}}: of adaptation, of each variant, of the anchors."""
    found: dict = {}
    for name in names:
        rows = found.setdefault(name, {})
        for label, records in curves.items():
            plain = curves.get(label.removesuffix(", adapted"))
            if label.endswith(", adapted") and plain is not None:
                rows[f"{label} against none"] = compared(plain, records, name)
            if not label.endswith(", adapted") and label != "ssf" and "ssf" in curves:
                rows[f"{label} against ssf"] = compared(curves["ssf"], records, name)
            for anchor, theirs in anchors.items():
                rows[f"{label} against {anchor}"] = compared(theirs, records, name)
    return found


def sent(records: list[dict]) -> list[dict]:
    """What changes of the receiver take in files that have any."""
    return [
        {
            "clip": r["name"],
            **r["setting"],
            "bits_per_parameter": r["bits"]["networks"] / r["params"],
            "share_of_file": r["bits"]["networks"] / (8 * r["bytes"]),
        }
        for r in records
        if r.get("params")
    ]


def drift(clip: Clip, base: str, output: Path) -> dict:
    """Symbols and frames of one file, as decoded under two instruction sets."""
    (result,) = encode([Request(clip, Options("stat-ssf", PRESET, 1e-3, 0, base=base))])
    path = output / "drift.ovf"
    path.write_bytes(result.data)
    decoded = []
    for instructions in INSTRUCTION_SETS:
        target = output / f"drift-{instructions}.npz"
        environment = os.environ | {"OPENBLAS_CORETYPE": instructions}
        command = [sys.executable, __file__, "-", "--child", str(path), str(target)]
        subprocess.run(command, check=True, env=environment)
        decoded.append(np.load(target))
    a, b = (d["frames"].astype(int) for d in decoded)
    difference = np.abs(a - b)
    per_frame = [float((d > 0).mean()) for d in difference]
    return {
        "instruction_sets": list(INSTRUCTION_SETS),
        "symbols_equal": bool(decoded[0]["symbols"] == decoded[1]["symbols"]),
        "frames": len(a),
        "largest_difference": int(difference.max()),
        "share_of_samples_that_differ": {
            "first": per_frame[0],
            "middle": per_frame[len(a) // 2],
            "last": per_frame[-1],
            "largest": max(per_frame),
        },
        "psnr_between_the_two_last_frames": None
        if not difference[-1].any()
        else float(20 * np.log10(255) - 10 * np.log10(np.square(difference[-1]).mean())),
    }


def motion(clip: Clip, base: str) -> dict:
    """PSNR of predictions, before a residual, and of the frames that they are made from: dB."""
    from overfit import decoding
    from overfit.methods.stat_ssf import networks

    original, found = networks.predict, []

    def recording(layers, y, reference, config):
        prediction = original(layers, y, reference, config)
        found.append((reference, prediction.mean))
        return prediction

    part = Clip((clip.planes[0][:PREDICTED],), clip.fps)
    result: dict = {}
    for lmbda in library.find(base).load().settings["rates.lmbdas"]:
        (coded,) = encode([Request(part, Options("stat-ssf", PRESET, lmbda, 0, base=base))])
        found.clear()
        networks.predict = recording
        try:
            decoding.decode(coded.data)
        finally:
            networks.predict = original
        values = [
            [psnr(frame, in_8_bits(seen)[:, : clip.height, : clip.width]) for seen in pair]
            for frame, pair in zip(part.planes[0][1:].transpose(0, 3, 1, 2), found, strict=True)
        ]
        before, predicted = np.mean(values, axis=0).tolist()
        result[f"{lmbda:g}"] = {"frame_before": before, "prediction": predicted}
    return result


def in_8_bits(x: np.ndarray) -> np.ndarray:
    return np.rint(255 * x.clip(0, 1)).astype(np.uint8)


def child(file: str, target: str) -> None:
    """Decodes a file, and keeps its frames and a hash of all symbols."""
    from overfit import decoding
    from overfit.coding import laplace

    digest = hashlib.sha256()

    class Recorder(laplace.Decoder):
        def code_rows(self, values, rows):
            coded = super().code_rows(values, rows)
            digest.update(coded.tobytes())
            return coded

    laplace.Decoder = Recorder
    frames = decoding.decode(Path(file).read_bytes())
    np.savez(target, frames=frames, symbols=digest.hexdigest())


def main() -> None:
    if "--child" in sys.argv:
        child(*sys.argv[-2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the clips")
    parser.add_argument(
        "--bases", nargs="+", required=True, help="as `overfit bases list` has them"
    )
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--only", nargs="+", default=["BasketballPass", "foreman"])
    parser.add_argument("--adapt", nargs="*", help="bases that are adapted; default: all")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", default="runs/stat_ssf", help="of the files")
    arguments = parser.parse_args()
    prepare_jax()
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    folder = Path(arguments.folder)
    instances = [in_rgb(folder / CLIPS[name], name, output) for name in arguments.only]
    stored = common.RESULTS / "stat_ssf.json"
    results = json.loads(stored.read_text())["results"] if stored.exists() else {}

    def save(part: str, result) -> None:
        results[part] = result
        results.setdefault("commands", {})[part] = common.command()
        common.save("stat_ssf", results, steps=arguments.steps)

    if "curves" in arguments.parts:
        lines = evaluated(instances, output / "anchors", Plan(ANCHORS))
        anchors = {label: [r for r in lines if r["label"] == label] for label in ANCHORS}
        adapted = arguments.bases if arguments.adapt is None else arguments.adapt
        curves: dict[str, list[dict]] = {}
        for steps in (0, arguments.steps):
            for base in arguments.bases if steps == 0 else adapted:
                lmbdas = library.find(base).load().settings["rates.lmbdas"]
                plan = Plan((PRESET,), tuple(lmbdas), steps=steps, base=base)
                label = base if steps == 0 else f"{base}, adapted"
                curves[label] = evaluated(
                    instances, output / label.replace(", ", "-"), plan, ("adapted", "params")
                )
                save("curves", {"anchors": anchors} | curves)
                save("bd_rates", tables(anchors, curves, arguments.only))
                save("sent", {name: sent(records) for name, records in curves.items()})
    if "drift" in arguments.parts:
        clip = as_rgb(load_clip(instances[0].path))
        save("drift", drift(clip, arguments.bases[-1], output))
        print(results["drift"])
    if "motion" in arguments.parts:
        clip = as_rgb(load_clip(instances[0].path))
        save("motion", {base: motion(clip, base) for base in arguments.bases})
        print(results["motion"])
    if "short" in arguments.parts:
        found = {}
        clip = as_rgb(load_clip(instances[0].path))
        for frames in (2, clip.frames):
            part = Clip((clip.planes[0][:frames],), clip.fps)
            options = Options("stat-ssf", PRESET, 6.4e-3, arguments.steps, base=arguments.bases[-1])
            (result,) = encode([Request(part, options)])
            kept = ("bytes", "bpp", "psnr", "adapted", "params", "bits")
            found[f"{frames} frames"] = {key: result.about[key] for key in kept}
        save("short", found)
        print(found)


if __name__ == "__main__":
    main()
