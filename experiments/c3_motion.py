"""C3 on clips whose picture moves as a whole: frames on a canvas (`start.motion`) and without.

    python experiments/c3_motion.py ../shared/data/video [--only foreman]

Crops of 7 frames of 128x128 pixels from the middle of the picture, in RGB, the default preset at
four lambdas and equal steps, real files. Where a clip does not move, or too far, or its frames
would still differ on a canvas, nothing is fitted: the two would be one. --margin makes a canvas of
that margin all the same. Results of clips that are not in --only, and from other bases, stay as
they are.
"""

import argparse
from pathlib import Path

import common
import numpy as np
from c3_video import CLIPS, FRAMES, PRESET, SIDE, against_default, crops, evaluated

from overfit import settings
from overfit.commands.common import prepare_jax
from overfit.evaluation import Plan
from overfit.io.clips import load_clip
from overfit.methods.c3 import motion, samples
from overfit.methods.c3.config import CLIP_PRESETS

REACH = 32  # px per frame


def main() -> None:
    parser = argparse.ArgumentParser(description="C3 with frames on a canvas.")
    parser.add_argument("folder", help="of the clips")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--lmbdas", type=float, nargs="+", default=[2e-4, 5e-4, 1e-3, 4e-3])
    parser.add_argument("--margin", help="rows,columns of the canvas beyond a frame's")
    parser.add_argument("--base", default="none", help="of both, as for encode")
    parser.add_argument("--only", nargs="+", default=list(CLIPS), choices=list(CLIPS))
    parser.add_argument("--output", default="runs/c3_motion", help="of the files")
    arguments = parser.parse_args()
    prepare_jax()
    output, names = Path(arguments.output), list(arguments.only)
    about = {"steps": arguments.steps, "frames": FRAMES, "side": SIDE, "reach": REACH}
    results = common.stored("c3_motion", about)
    changes = {"start.motion": REACH}
    changes |= {"latents.margin": arguments.margin} if arguments.margin else {}
    looking = settings.override(CLIP_PRESETS[PRESET], changes)
    for one in crops(arguments.folder, output, names, FRAMES, dict.fromkeys(names, SIDE)):
        signal = np.moveaxis(load_clip(one.path).planes[0], -1, 0)
        found = {
            "margin": motion.with_margin(signal, looking).latents.margin,
            "difference_left": float(motion.shifts(samples.luma(signal), REACH)[1]),
            "command": common.command(),
        }
        if any(found["margin"]):
            lmbdas, steps = tuple(arguments.lmbdas), arguments.steps
            plain = Plan((PRESET,), lmbdas, steps=steps, base=arguments.base)
            found["plain"] = evaluated([one], output / "plain", plain)
            found["canvas"] = evaluated([one], output / "canvas", plain._replace(set=changes))
            found["bd_rate"] = against_default(found["plain"], found["canvas"])[one.name][PRESET]
        place = one.name if arguments.base == "none" else f"{one.name}, base {arguments.base}"
        results[place] = found
        common.save("c3_motion", results, settings=about)


if __name__ == "__main__":
    main()
