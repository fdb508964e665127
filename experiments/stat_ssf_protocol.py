"""STAT-SSF by the protocol of its paper on any folder of clips (its figure 3: UVG and MCL-JCV).

    python experiments/stat_ssf_protocol.py uvg:FOLDER --base NAME [--steps 1000]
    python experiments/stat_ssf_protocol.py mcl-jcv:FOLDER --base NAME --frames 12

Frames are cropped in their middle to multiples of 128 (1920x1080 to 1920x1024), in RGB; the first
frame of a clip is its one intra frame; PSNR is a mean over frames, then over clips, and so is the
rate. The paper measures PSNR before frames are rounded to 8 bits, we after. Rates are those of
files, which are decoded again. What is done is found in --output and not done again.
"""

import argparse
import json
from pathlib import Path

import common
import numpy as np

from overfit.bases import library
from overfit.commands.common import prepare_jax
from overfit.fitting.encode import encode
from overfit.fitting.groups import Options, Request
from overfit.io.clip import Clip
from overfit.io.clips import as_rgb, load_clip
from overfit.io.datasets import find
from overfit.io.json_file import write_json

MULTIPLE = 128


def cropped(clip: Clip) -> Clip:
    """The middle of an RGB clip, as large as multiples of 128 allow."""
    (frames,) = clip.planes
    sides = [max(n // MULTIPLE, 1) * MULTIPLE for n in frames.shape[1:3]]
    top, left = (max(n - side, 0) // 2 for n, side in zip(frames.shape[1:3], sides, strict=True))
    return Clip((frames[:, top : top + sides[0], left : left + sides[1]],), clip.fps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", help="a data set, as for evaluate: uvg:FOLDER, mcl-jcv:FOLDER, ..")
    parser.add_argument("--base", required=True, help="as `overfit bases list` has it")
    parser.add_argument("--steps", type=int, default=0, help="of adaptation; default: none")
    parser.add_argument("--frames", type=int, help="of each clip; default: all")
    parser.add_argument("--output", default="runs/stat_ssf_protocol", help="of files and records")
    arguments = parser.parse_args()
    prepare_jax()
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    entry = library.find(arguments.base)
    lmbdas = entry.load().settings["rates.lmbdas"]
    records: list[dict] = []
    for instance in find(arguments.clips):
        if instance.kind != "video":
            continue
        clip = cropped(as_rgb(load_clip(instance.path, arguments.frames)))
        for lmbda in lmbdas:
            stem = f"{instance.name.replace('/', '_')}-{entry.identity[:12]}"
            path = output / f"{stem}-{arguments.steps}-{clip.frames}-{lmbda:g}.json"
            if not path.exists():
                options = Options("stat-ssf", None, lmbda, arguments.steps, base=arguments.base)
                (result,) = encode([Request(clip, options)])
                path.with_suffix(".ovf").write_bytes(result.data)
                kept = ("bytes", "bpp", "psnr", "ms_ssim", "adapted", "frames", "width", "height")
                found = {key: result.about[key] for key in kept}
                write_json(path, {"clip": instance.name, "lmbda": lmbda, **found})
            records.append(json.loads(path.read_text()))
            print(records[-1], flush=True)
    curve = [
        {
            "lmbda": lmbda,
            "bpp": float(np.mean([r["bpp"] for r in records if r["lmbda"] == lmbda])),
            "psnr": float(np.mean([r["psnr"] for r in records if r["lmbda"] == lmbda])),
        }
        for lmbda in lmbdas
    ]
    results = {"base": entry.identity, "steps": arguments.steps, "mean": curve, "clips": records}
    common.save("stat_ssf_protocol", results)


if __name__ == "__main__":
    main()
