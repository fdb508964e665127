"""Many small images together against one after the other, in the same run.

    python experiments/bench_batch.py KODAK_FOLDER

24 crops of 128x128 pixels are encoded in three ways that take turns on a third of them each: by a
command each (`overfit encode`), by calls of `encode` in one process, and by `overfit batch`. All
compiled programs are in JAX's cache before the clock starts; a process still loads them. Speed is
image pixels times steps per second of wall clock, start and writing of files included; shared
machines are noisy, so the medians of the rounds and their ratios count.
Expected on two cores: batch 1.7 times the calls (a 128x128 image keeps one core busy), and the same
files to the byte, because a fit gets in a batch what it gets alone.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
from PIL import Image

import overfit
from overfit.decoding import decode
from overfit.fitting.encode import encode
from overfit.fitting.groups import Options, Request
from overfit.io.datasets import find_all
from overfit.io.images import load_image
from overfit.metrics.psnr import psnr

ROUNDS = 3


def crops(folder: str, size: int, output: Path) -> list[Path]:
    """Two crops of each of the first twelve pictures of a folder, as PNG files."""
    output.mkdir()
    paths = []
    for instance in find_all([folder])[:12]:
        for center in (False, True):
            crop = common.crop(folder, instance.name, size, center)
            paths.append(output / f"{instance.name}-{'center' if center else 'corner'}.png")
            Image.fromarray(crop).save(paths[-1])
    return paths


def by_commands(paths: list[Path], steps: int, output: Path) -> None:
    for path in paths:
        command = ["encode", str(path), "-o", str(output / f"{path.stem}.ovf")]
        _overfit(*command, "--steps", str(steps), "--quiet")


def by_calls(paths: list[Path], steps: int, output: Path) -> None:
    for path in paths:
        (encoded,) = encode([Request(load_image(str(path)), Options(steps=steps))])
        (output / f"{path.stem}.ovf").write_bytes(encoded.data)


def by_batch(paths: list[Path], steps: int, output: Path) -> None:
    _overfit("batch", *map(str, paths), "-o", str(output), "--steps", str(steps), "--quiet")


def _overfit(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "overfit", *words], check=True)


WAYS: dict[str, Callable[[list[Path], int, Path], None]] = {
    "commands": by_commands,
    "calls": by_calls,
    "batch": by_batch,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of the Kodak images")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=500)
    arguments = parser.parse_args()
    from overfit.commands.common import prepare_jax

    prepare_jax()
    with tempfile.TemporaryDirectory() as folder:
        paths = crops(arguments.folder, arguments.size, Path(folder) / "crops")
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for way, run in WAYS.items():
            (Path(folder) / way).mkdir()
            run(paths[:2], 1, Path(tempfile.mkdtemp(dir=folder)))  # compiles
        for turn in range(ROUNDS):
            for way, run in WAYS.items():
                start = time.perf_counter()
                run(paths[turn::ROUNDS], arguments.steps, Path(folder) / way)
                seconds[way].append(time.perf_counter() - start)
                print(f"round {turn}: {way} {seconds[way][-1]:.1f} s", flush=True)
        differences = compare(paths, Path(folder))

    work = len(paths) / ROUNDS * arguments.size**2 * arguments.steps
    results = {
        "mpx_per_second": {
            way: work / statistics.median(values) / 1e6 for way, values in seconds.items()
        },
        "seconds": seconds,
        "batch_over_calls": statistics.median(
            a / b for a, b in zip(seconds["calls"], seconds["batch"], strict=True)
        ),
        "batch_over_commands": statistics.median(
            a / b for a, b in zip(seconds["commands"], seconds["batch"], strict=True)
        ),
        **differences,
    }
    print(results)
    settings = {"size": arguments.size, "steps": arguments.steps, "images": len(paths)}
    common.save("bench_batch", results, settings=settings)


def compare(paths: list[Path], folder: Path) -> dict:
    """How far the files of a batch are from those of calls, at most."""
    same, rates, qualities = 0, [], []
    for path in paths:
        alone, batch = (
            (folder / way / f"{path.stem}.ovf").read_bytes() for way in ("calls", "batch")
        )
        image = load_image(str(path))
        same += alone == batch
        rates.append(len(batch) / len(alone) - 1)
        qualities.append(psnr(image, decode(batch)) - psnr(image, overfit.decode(alone)))
    return {
        "equal_files": same,
        "files": len(paths),
        "largest_rate_difference": max(map(abs, rates)),
        "largest_psnr_difference": max(map(abs, qualities)),
    }


if __name__ == "__main__":
    main()
