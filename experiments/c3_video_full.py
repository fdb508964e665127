"""A clip at its full size by C3: bytes, quality, time and memory, beside x264 and x265.

    python experiments/c3_video_full.py ../shared/data/video/BasketballPass_416x240_50fps_rgb

The clip is cut into patches by the rule of the paper. The command line encodes and decodes it, each
in a process of its own whose peak of memory is measured, and the frames that come out are compared
with the clip. With as few steps as stated this shows that patches, frames and memory work at that
size, not how good C3 is: the paper takes 100000.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import common
from c3_video import evaluated

from overfit.commands.common import prepare_jax
from overfit.evaluation import Plan as Evaluation
from overfit.io.clips import as_rgb, load_clip
from overfit.io.datasets import Instance
from overfit.io.patches import patches, size_for
from overfit.metrics.psnr import clip_psnr

ANCHORS = ("x264-medium-nobframes", "x265-medium-nobframes")


def ran(*words) -> dict:
    """Seconds of a command of overfit, and the peak of its memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "overfit", *map(str, words)])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"overfit {words[0]} ended with exit code {process.returncode}")
    return {"seconds": time.perf_counter() - start, "peak_megabytes": usage.ru_maxrss / 1024}


def measured(path: Path, arguments, folder: Path) -> dict:
    """What the command line makes of the clip."""
    clip = as_rgb(load_clip(path, arguments.frames))
    size = (clip.frames, clip.height, clip.width)
    file, report, frames = folder / "clip.ovf", folder / "clip.json", folder / "frames"
    encoding = ran(
        "encode", path, "-o", file, "--json", report, "--frames", clip.frames,
        "--steps", arguments.steps, "--lmbda", arguments.lmbda, "--checkpoint", folder / "run",
    )  # fmt: skip
    decoding = ran("decode", file, "-o", frames)
    about = json.loads(report.read_text())
    boxes = patches(size, size_for(arguments.lmbda))
    data = file.read_bytes()
    return {
        "clip": path.name, "size": size, "patches": [box.size for box in boxes],
        "preset": about["preset"], "steps": arguments.steps, "lmbda": arguments.lmbda,
        "bytes": len(data), "bpp": 8 * len(data) / (size[0] * size[1] * size[2]),
        "psnr": clip_psnr(clip.planes[0], load_clip(frames).planes[0]), "bits": about["bits"],
        "macs_per_pixel": about["macs_per_pixel"], "encode": encoding, "decode": decoding,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="A clip at its full size by C3.")
    parser.add_argument("clip")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lmbda", type=float, default=1e-3)
    parser.add_argument("--output", default="runs/c3_video_full", help="of the files")
    arguments = parser.parse_args()
    prepare_jax()
    path, folder = Path(arguments.clip), Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    clip = Instance("clips", path.name.split(".")[0], str(path), "video")
    plan = Evaluation(ANCHORS, frames=arguments.frames)
    anchors = evaluated([clip], folder / "anchors", plan)
    results = {"anchors": anchors, "c3": measured(path, arguments, folder)}
    common.save("c3_video_full", results)


if __name__ == "__main__":
    main()
