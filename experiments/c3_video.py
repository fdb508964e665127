"""C3 on clips: rate and distortion beside x264 and x265, its nine settings, its learned masks.

    python experiments/c3_video.py FOLDER_OF_CLIPS [--parts curves] [--only BasketballPass]

Small crops of four clips (7 frames of 128x128 pixels, from the middle of the picture, in RGB), each
a single patch, and as few steps as stated, where the paper takes 100000 and patches of 1.3
million pixels and more: the kilobytes of networks weigh far more here. The parts:

    curves    the default preset at four lambdas, beside the anchors
    settings  each of the nine settings to its end on one clip at one lambda: the choice among them
    masks     learned, by searches of several lengths, and centered, with one preset on clips that
              move (Fig. 24 of the paper), and the weights that place them, as PNG (Fig. 15)
    adaptive  the best of the nine settings by halving, for every clip and lambda (the longest part;
              --adaptive-lmbdas takes fewer)

All rates are those of files that were decoded again. What is done is found in --output and not done
again; the results are saved after every part, and those of other clips and lambdas stay.
"""

import argparse
import dataclasses
from pathlib import Path

import common
import jax
import numpy as np

from overfit.commands.common import prepare_jax
from overfit.display import batch_display
from overfit.errors import UserError
from overfit.evaluation import Plan as Evaluation
from overfit.evaluation import jobs
from overfit.fitting.clips import patch_fits
from overfit.fitting.groups import Group, Options, first_phase, start
from overfit.io.clips import as_rgb, load_clip
from overfit.io.datasets import find_all
from overfit.io.images import save_image
from overfit.jobs.backends import Workers
from overfit.jobs.drive import drive
from overfit.jobs.records import central_crop_of_clip
from overfit.methods.c3.masks import heat_maps
from overfit.metrics.bd_rate import bd_rate
from overfit.sweeping.rungs import Plan
from overfit.sweeping.space import read_sweep
from overfit.sweeping.sweep import sweep

SWEEP = Path(__file__).parents[1] / "sweeps" / "c3_adaptive_uvg.toml"
CLIPS = {
    "BasketballPass": "BasketballPass_416x240_50fps_rgb",
    "park_joy": "park_joy_480x270_50fps_420p8_10f.y4m.xz",
    "foreman": "foreman_a_352x288_30fps_420p8_7f.yuv.xz",
    "bunny": "bunny_1280x720_rgb",
}
FRAMES, SIDE = 7, 128
ANCHORS = (
    "x264-medium-nobframes", "x265-medium-nobframes", "x265-medium-nobframes-444", "x265-veryslow",
)  # fmt: skip
ONE = Workers(count=1)
PRESET = "c3-uvg-shared"  # the default for clips
MOVING = ("BasketballPass", "park_joy")
PARTS = ("curves", "settings", "masks", "adaptive")


def crops(folder: str, output: Path, names, frames: int | None, sides: dict[str, int]) -> list:
    """Writes the clips as folders of PNG frames, and returns them as members of a data set.

    frames: the first ones, None for all; sides: of those cut to their central square, in pixels.
    """
    for name in names:
        target = output / "crops" / name
        if not target.exists():
            clip = as_rgb(load_clip(Path(folder) / CLIPS[name], frames))
            clip = central_crop_of_clip(clip, sides.get(name))
            target.mkdir(parents=True)
            for t, frame in enumerate(clip.planes[0]):
                save_image(str(target / f"f{t:03d}.png"), np.ascontiguousarray(frame))
    found = [one for one in find_all([f"clips:{output / 'crops'}"]) if one.name in names]
    return sorted(found, key=lambda one: names.index(one.name))


def swept(instances, output: Path, strategy: str, steps: int, mask_steps: int, lmbdas) -> list:
    """Lines of the summary of a sweep."""
    space = read_sweep(SWEEP).replaced(steps, lmbdas)
    space = dataclasses.replace(space, set={"start.mask_steps": mask_steps})
    with batch_display(False) as show:
        summary, failures = sweep(instances, Plan(space, strategy), output, ONE, show)
    if failures:
        raise SystemExit("\n".join(map(str, failures)))
    return summary["results"]


def evaluated(
    instances, output: Path, plan: Evaluation, more: tuple[str, ...] = (), workers: Workers = ONE
) -> list[dict]:
    """Records of an evaluation, without the paths of this machine."""
    with batch_display(False) as show:
        records, failures = drive(jobs(instances, plan), output, workers, show)
    if failures:
        raise SystemExit("\n".join(map(str, failures)))
    kept = ("name", "label", "setting", "bytes", "bpp", "psnr", "ms_ssim", "bits", *more)
    return [{key: record[key] for key in kept if key in record} for record in records]


def bd_rates(anchors: list[dict], lines: list[dict], labels=ANCHORS) -> dict:
    """{clip: {label: BD-rate of the lines against it in per cent, or why there is none}}."""
    found: dict = {}
    for name in dict.fromkeys(line["name"] for line in lines):
        ours = sorted((line["bpp"], line["psnr"]) for line in lines if line["name"] == name)
        for label in labels:
            theirs = [r for r in anchors if (r["name"], r["label"]) == (name, label)]
            points = sorted((r["bpp"], r["psnr"]) for r in theirs)
            try:
                value = bd_rate(points, ours)
            except UserError as error:
                value = str(error)
            found.setdefault(name, {})[label] = value
    return found


def place_of(line: dict) -> tuple:
    """(clip, lambda or quantizer, label if it has one) of a record or a line of a sweep."""
    (value,) = line["setting"].values() if "setting" in line else [line["lmbda"]]
    return line["name"], value, line.get("label")


def against_default(curves: list[dict], lines: list[dict]) -> dict:
    """BD-rates of the lines against the default preset at the same lambdas.

    A curve of fewer lambdas lies elsewhere even where the points are the same.
    """

    at_both = {place_of(line)[:2] for line in lines}
    default = [line | {"label": PRESET} for line in curves if place_of(line)[:2] in at_both]
    return bd_rates(default, lines, (PRESET,))


def heat_map(instance, steps: int, path: Path) -> None:
    """The mean weight magnitudes of the search for the masks of three grids, side by side (PNG)."""
    options = Options(preset="c3-uvg-masked", steps=steps, set={"start.mask_steps": steps})
    group = Group(patch_fits(load_clip(instance.path), options))
    _, tasks = start(Group([one._replace(config=_without_search(one)) for one in group.fits]))
    found = first_phase(group, tasks)
    assert found is not None
    maps = np.asarray(jax.vmap(heat_maps)(found.states.params["entropy"]["window"])[0])
    maps = maps / maps.max(axis=(1, 2), keepdims=True)
    big = np.pad(maps.repeat(4, axis=1).repeat(4, axis=2), ((0, 0), (2, 2), (2, 2)))
    levels = (255 * np.concatenate(list(big), axis=1)).astype(np.uint8)
    save_image(str(path), levels[..., None])


def _without_search(one):
    from overfit.settings import override

    return override(one.config, {"start.mask_steps": 0})


def main() -> None:
    parser = argparse.ArgumentParser(description="C3 on clips, beside x264 and x265.")
    parser.add_argument("folder", help="of the clips")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--mask-steps", type=int, default=100)
    parser.add_argument("--searches", type=int, nargs="+", default=[100, 1000], help="of masks")
    parser.add_argument("--lmbdas", type=float, nargs="+", default=[2e-4, 5e-4, 1e-3, 4e-3])
    parser.add_argument("--adaptive-lmbdas", type=float, nargs="+", help="default: all of these")
    parser.add_argument("--only", nargs="+", default=list(CLIPS), choices=list(CLIPS))
    parser.add_argument("--output", default="runs/c3_video", help="of the files")
    arguments = parser.parse_args()
    prepare_jax()
    output, lmbdas, steps = Path(arguments.output), arguments.lmbdas, arguments.steps
    names = list(arguments.only)
    instances = crops(arguments.folder, output, names, FRAMES, dict.fromkeys(names, SIDE))
    budget = steps, arguments.mask_steps
    settings = {"steps": steps, "mask_steps": arguments.mask_steps, "lmbdas": lmbdas}
    settings |= {"frames": FRAMES, "side": SIDE, "clips": CLIPS}
    results = common.stored("c3_video", settings)

    def save(part: str, result) -> None:
        results[part] = result
        results.setdefault("commands", {})[part] = common.command()
        common.save("c3_video", results, settings=settings)

    def save_lines(part: str, lines: list[dict]) -> None:
        done = set(map(place_of, lines))
        save(part, [line for line in results.get(part, []) if place_of(line) not in done] + lines)

    moving = [one for one in instances if one.name in MOVING]
    if "curves" in arguments.parts:
        save_lines("anchors", evaluated(instances, output / "anchors", Evaluation(ANCHORS)))
        curve: list[dict] = []
        for instance in instances:
            plan = Evaluation((PRESET,), tuple(lmbdas), steps=steps)
            curve += evaluated([instance], output / "curves", plan)
            save_lines("curves", curve)
        save("bd_rates", bd_rates(results["anchors"], results["curves"]))
    if "settings" in arguments.parts:
        for instance in moving[:1]:
            place = output / "settings"
            (chosen,) = swept([instance], place, "grid", *budget, lmbdas[1:2])
            save("settings", {"chosen": chosen, "all": _every_setting(place)})
    if "masks" in arguments.parts:
        for instance in moving:
            path = common.RESULTS / f"c3_video_mask_{instance.name}.png"
            heat_map(instance, max(arguments.searches), path)
        lines: list[dict] = []
        for mask_steps in (0, *arguments.searches):
            changes = {"start.mask_steps": mask_steps}
            plan = Evaluation(("c3-uvg-masked",), tuple(lmbdas[1:2]), steps=steps, set=changes)
            lines += evaluated(moving, output / "masks", plan)
            save_lines("masks", lines)
    if "adaptive" in arguments.parts:
        adaptive: list[dict] = []
        for instance in instances:
            place = output / "adaptive" / instance.name
            at = arguments.adaptive_lmbdas or lmbdas
            adaptive += swept([instance], place, "halving", *budget, at)
            save_lines("adaptive", adaptive)
        save("bd_rates_adaptive", against_default(results.get("curves", []), results["adaptive"]))


def _every_setting(folder: Path) -> list[dict]:
    """A line per setting of a sweep whose fits all went to their ends, the cheapest first."""
    from overfit.jobs.store import read_results
    from overfit.sweeping.space import rd_cost

    kept = ("name", "sweep_setting", "setting", "bytes", "bpp", "psnr", "bits", "macs_per_pixel")
    lines = [{key: r[key] for key in kept} | {"cost": rd_cost(r)} for r in read_results(folder)[0]]
    return sorted(lines, key=lambda line: line["cost"])


if __name__ == "__main__":
    main()
