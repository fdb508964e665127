"""Speed and memory of C3 on clips: the fit, its entropy model beside dense convolutions, decoding.

    python experiments/bench_video.py [--patch 8,96,128] [--memory 30,180,240] [--dense 4,64,64]

For each of the three entropy settings:

- `fit`: whole steps of the engine on one patch of noise, for 3x3 and 3x3x3 residual convolutions.
- `entropy`: the rate of all latents with its gradient, ours and by `lax.conv_general_dilated` with
  a dense, masked kernel: 2x9x9 taps, or 2x65x65 where a mask is placed in such a window. The two
  are the same function of the same weights, which is checked, and are measured in turns.
- `memory`: peak of a fresh process that takes two steps on one patch.
- `decode`: frames per second of a fresh process on one core, without its start.

Mpx/s is pixels of all frames per second. Machines are shared and noisy: medians are compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import overfit
from overfit.engine import fit
from overfit.fitting.clips import patch_fits
from overfit.fitting.groups import Group, Options, start
from overfit.io.clip import Clip
from overfit.io.patches import parse_size
from overfit.methods.c3 import model
from overfit.methods.c3.architecture import causal_offsets, frame_offsets, num_masks
from overfit.methods.c3.config import CLIP_PRESETS
from overfit.nn import distributions, vectors

PARTS = ("fit", "entropy", "memory", "decode")
MEMORY = """
import re, sys
sys.path.insert(0, sys.argv[1])
import bench_video
bench_video.Steps(sys.argv[2], True, bench_video.parse_size(sys.argv[3])).run(2)
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""
DECODE = """
import os, sys, time
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
from overfit import clip_decoding
with open(sys.argv[1], "rb") as file:
    frames = clip_decoding.decode_frames(file)
    next(frames)  # tables are made with the first one
    begin = time.perf_counter()
    count = sum(1 for _ in frames)
print(count / (time.perf_counter() - begin))
"""


class Steps:
    """Steps of the engine on a patch of noise."""

    def __init__(self, preset: str, per_frame: bool, size):
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        changes = {"synthesis.per_frame": per_frame, "start.mask_steps": 0}
        options = Options(preset=preset, patch=size, set=changes)
        self.group = Group(patch_fits(Clip((noise,), Fraction(25)), options))
        self.states, self.tasks = fit.spread(*start(self.group))

    def run(self, steps: int) -> None:
        loss, config = self.group.codec.loss, self.group.architecture
        self.states = jax.block_until_ready(
            fit.advance(self.states, self.tasks, steps, loss, config)
        )


def dense_bits(weights, bins, shapes, config, masks):
    """`model.latent_bits` by convolutions whose kernels have every tap of their windows."""
    bits = 0.0
    for grid, plane in enumerate(vectors.split(bins, shapes)):
        own = {name: array for name, array in weights.items() if name != "frame_w"}
        if config.entropy.per_grid == "separate":
            own = {name: array[grid] for name, array in own.items()}
        offsets = [(1, *tap) for tap in causal_offsets(config.entropy.context)]
        taps = own["w0"]
        if frame_offsets(config, grid):
            top, left = masks[grid] if num_masks(config) else (0, 0)
            offsets += [(0, top + dy, left + dx) for dy, dx in frame_offsets(config, grid)]
            frame_w = weights["frame_w"]
            frame_w = frame_w[grid] if config.entropy.per_grid == "separate" else frame_w
            taps = jnp.concatenate([taps, frame_w], axis=1)
        reach = max(config.entropy.frame if frame_offsets(config, grid) else 0, 4)
        place = tuple(np.asarray(offsets).T + np.array([[0], [reach], [reach]]))
        kernel = jnp.zeros((2, 2 * reach + 1, 2 * reach + 1, len(taps))).at[place].set(taps.T)
        x = config.latents.q_step * plane[None, ..., None]
        x = lax.conv_general_dilated(
            x, kernel[..., None, :], (1, 1, 1), ((1, 0), (reach, reach), (reach, reach)),
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        )[0]  # fmt: skip
        x = x + own["b0"]
        for i in range(1, len(config.entropy.widths) + 1):
            x = jax.nn.gelu(x) @ own[f"w{i}"].T + own[f"b{i}"]
        scale = jnp.exp(-0.5 * jnp.clip(x[..., 1] + config.entropy.log_scale_shift, -10.0, 13.8))
        q_step = config.latents.q_step
        bits += distributions.laplace_bits(plane, x[..., 0] / q_step, scale / q_step).sum()
    return bits


def entropy(preset: str, size, repeats: int) -> dict:
    """Seconds per gradient of the rate, ours and dense, and how far the two are apart."""
    steps = Steps(preset, True, size)
    config = steps.group.architecture
    shapes = config.latents.shapes(*size)
    params = jax.tree.map(lambda array: array[0], steps.states.params)
    count = sum(int(np.prod(shape)) for shape in shapes)
    bins = jnp.asarray(np.random.default_rng(1).laplace(0, 2, count).round(), jnp.float32)
    masks = np.asarray(params["masks"]).astype(int) if "masks" in params else None
    functions = {
        "ours": lambda w, x: model.latent_bits(w, x, shapes, config, params.get("masks")),
        "dense": lambda w, x: dense_bits(w, x, shapes, config, masks),
    }
    programs = {
        name: jax.jit(jax.value_and_grad(function, argnums=(0, 1)))
        for name, function in functions.items()
    }
    results = {n: jax.block_until_ready(p(params["entropy"], bins)) for n, p in programs.items()}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            begin = time.perf_counter()
            jax.block_until_ready(program(params["entropy"], bins))
            times[name].append(time.perf_counter() - begin)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    (ours, theirs), pixels = (results[name][0] for name in programs), int(np.prod(size))
    return {
        "patch": size,
        "mpx_per_second": {name: pixels / value / 1e6 for name, value in seconds.items()},
        "speedup": seconds["dense"] / seconds["ours"],
        "difference_of_bits": abs(float(ours / theirs) - 1),
    }


def speed_of_fit(preset: str, per_frame: bool, size, repeats: int) -> dict:
    steps = Steps(preset, per_frame, size)
    steps.run(1)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        steps.run(2)
        seconds.append((time.perf_counter() - begin) / 2)
    median = statistics.median(seconds)
    return {
        "patch": size, "seconds_per_step": median, "mpx_per_second": np.prod(size) / median / 1e6
    }  # fmt: skip


def fresh(code: str, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def frames_per_second(preset: str, clip: np.ndarray, steps: int, repeats: int) -> dict:
    data: Any = overfit.encode(
        clip, preset=preset, steps=steps, patch=clip.shape[:3], set={"start.mask_steps": 0}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ovf"
        path.write_bytes(data)
        rates = [fresh(DECODE, str(path)) for _ in range(repeats)]
    frames, height, width, _ = clip.shape
    return {
        "size": (frames, height, width), "bpp": 8 * len(data) / (frames * height * width),
        "frames_per_second": statistics.median(rates), "all": rates,
    }  # fmt: skip


def moving(frames: int, height: int, width: int) -> np.ndarray:
    """Waves that move, with a little noise: uint8 [T, H, W, 3]."""
    t, y, x = np.mgrid[:frames, :height, :width].astype(float)
    waves = [np.sin((x + 3 * t) / (9 + 4 * c) + (y - t) / 13) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 4, (frames, height, width, 3))
    return np.clip(120 + 70 * np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of C3 on clips.")
    parser.add_argument("--patch", default="8,96,128", help="of the fit")
    parser.add_argument("--dense", default="4,64,64", help="patch of the comparison")
    parser.add_argument("--memory", default="30,180,240", help="patch of the memory")
    parser.add_argument("--decode", default="6,180,240", help="clip that is decoded")
    presets = list(CLIP_PRESETS)
    parser.add_argument("--presets", nargs="+", default=presets, choices=presets)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="behind the file that is decoded")
    arguments = parser.parse_args()
    sizes = {k: parse_size(getattr(arguments, k)) for k in ("patch", "dense", "memory", "decode")}
    parts = {
        "fit": lambda preset: {
            name: speed_of_fit(preset, per_frame, sizes["patch"], arguments.repeats)
            for name, per_frame in (("3x3", True), ("3x3x3", False))
        },
        "entropy": lambda preset: entropy(preset, sizes["dense"], arguments.repeats),
        "memory": lambda preset: {
            "patch": sizes["memory"],
            "peak_megabytes": fresh(MEMORY, str(Path(__file__).parent), preset, arguments.memory),
        },
        "decode": lambda preset: frames_per_second(
            preset, moving(*sizes["decode"]), arguments.steps, 3
        ),
    }
    settings = {k: v for k, v in vars(arguments).items() if k not in ("presets", "parts")}
    rows = common.stored("bench_video", settings)
    for preset in arguments.presets:
        for part in arguments.parts:
            measured = parts[part](preset)
            # The load is that of the machine, over the last minute.
            about = {"load": os.getloadavg()[0], "command": common.command()}
            rows.setdefault(preset, {})[part] = measured | about
            print(preset, part, json.dumps(measured, default=float), flush=True)
            devices = jax.local_device_count()
            common.save("bench_video", rows, settings=settings, devices=devices)


if __name__ == "__main__":
    main()
