"""C3 on clips at their full size: rate and distortion beside x264 and x265; time and memory.

    python experiments/c3_video_full.py ../shared/data/video [--parts curves] [--only foreman]

The parts:

    anchors  x264 and x265 of the same frames
    curves   the default preset at four lambdas, from random networks or from a base. Fits of one
             clip share a program on an accelerator
    memory   the command line encodes and decodes BasketballPass, cut into patches by the rule of
             the paper, each in a process of its own whose peak of memory is measured, at so few
             steps that only this can be seen (--memory-steps)

Of bunny it is the central 256x256 pixels. All rates are those of files that were decoded again.
What is done is found in --output and not done again; results are saved after every part, and lines
of other clips, lambdas, steps and bases stay as they are.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import common
from c3_video import (
    ANCHORS,
    CLIPS,
    PRESET,
    bd_rates,
    crops,
    evaluated,
    place_of,
)

from overfit.commands.common import prepare_jax
from overfit.evaluation import Plan as Evaluation
from overfit.io.clips import as_rgb, load_clip
from overfit.io.patches import parse_size, patches, size_for
from overfit.jobs.backends import Workers
from overfit.metrics.psnr import clip_psnr

CROPS = {"bunny": 256}  # the central part, px
LMBDAS = (2e-4, 5e-4, 1e-3, 4e-3)
PARTS = ("anchors", "curves", "memory")
MEMORY_LMBDA = 1e-3
MORE = ("seconds_encode", "seconds_decode", "device")  # of the records


def ran(*words) -> dict:
    """Seconds of a command of overfit, and the peak of its memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "overfit", *map(str, words)])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"overfit {words[0]} ended with exit code {process.returncode}")
    return {"seconds": time.perf_counter() - start, "peak_megabytes": usage.ru_maxrss / 1024}


def by_the_command_line(path: Path, steps: int, folder: Path) -> dict:
    """What the command line makes of the clip."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = as_rgb(load_clip(path))
    size = (clip.frames, clip.height, clip.width)
    file, report, frames = folder / "clip.ovf", folder / "clip.json", folder / "frames"
    encoding = ran(
        "encode", path, "-o", file, "--json", report,
        "--steps", steps, "--lmbda", MEMORY_LMBDA, "--checkpoint", folder / "run",
    )  # fmt: skip
    decoding = ran("decode", file, "-o", frames)
    about = json.loads(report.read_text())
    boxes = patches(size, size_for(MEMORY_LMBDA))
    data = file.read_bytes()
    return {
        "clip": path.name, "size": size, "patches": [box.size for box in boxes],
        "preset": about["preset"], "steps": steps, "lmbda": MEMORY_LMBDA,
        "bytes": len(data), "bpp": 8 * len(data) / (size[0] * size[1] * size[2]),
        "psnr": clip_psnr(clip.planes[0], load_clip(frames).planes[0]), "bits": about["bits"],
        "macs_per_pixel": about["macs_per_pixel"], "encode": encoding, "decode": decoding,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Clips at their full size by C3.")
    parser.add_argument("folder", help="of the clips")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--only", nargs="+", default=list(CLIPS), choices=list(CLIPS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--lmbdas", type=float, nargs="+", default=LMBDAS)
    parser.add_argument("--patch", type=parse_size, default=(24, 512, 512), help="of curves")
    parser.add_argument("--base", default="none", help="of curves, as for encode")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--memory-steps", type=int, default=100)
    parser.add_argument("--output", default="runs/c3_video_full", help="of the files")
    arguments = parser.parse_args()
    prepare_jax()
    output = Path(arguments.output)
    workers = Workers(count=arguments.workers)
    settings = {"crops": CROPS, "preset": PRESET}
    results = common.stored("c3_video_full", settings)

    def save(part: str, result) -> None:
        results[part] = result
        commands = results.setdefault("commands", {}).setdefault(part, [])
        if common.command() not in commands:
            commands.append(common.command())
        common.save("c3_video_full", results, settings=settings)

    instances = crops(arguments.folder, output, arguments.only, None, CROPS)
    lmbdas = tuple(arguments.lmbdas)
    fits = Evaluation(
        (PRESET,), lmbdas, steps=arguments.steps, patch=arguments.patch, base=arguments.base
    )
    for part, plan in (("anchors", Evaluation(ANCHORS)), ("curves", fits)):
        for instance in instances if part in arguments.parts else []:
            lines = evaluated([instance], output / part, plan, MORE, workers)
            done = set(map(place_of, lines))
            others = [line for line in results.get(part, []) if place_of(line) not in done]
            save(part, others + lines)
    curves = results.get("curves", [])
    if results.get("anchors") and curves:
        found = {}
        for label in dict.fromkeys(line["label"] for line in curves):
            same = [line for line in curves if line["label"] == label]
            found[label] = bd_rates(results["anchors"], same)
        save("bd_rates", found)
    if "memory" in arguments.parts:
        path = Path(arguments.folder) / CLIPS["BasketballPass"]
        save("memory", by_the_command_line(path, arguments.memory_steps, output / "memory"))


if __name__ == "__main__":
    main()
