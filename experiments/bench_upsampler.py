"""Speed of the upsampler: fit beside matrix products, decoder beside x265 at full resolution.

    python experiments/bench_upsampler.py ../shared/data/video/BasketballPass_416x240_50fps_rgb

A step of the fit counts as the paper's table 1 has it: 1753 training operations for each pixel of
its patches, multiply-accumulates for the most part. Their rate is given as a share of the rate of a
1024 x 1024 float32 matrix product. The two are measured in turns, each by the time that its process
has had on a processor, since machines are shared; wall clock is given, too. Memory is what the fit
adds to what the process had when the group was ready.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import common
import jax
import jax.numpy as jnp

from overfit import decoding
from overfit.codecs import base_stream
from overfit.coding import container
from overfit.engine import fit
from overfit.fitting.groups import Fit, Group, Options, configuration, fitted, start
from overfit.fitting.run import Run
from overfit.io.clips import as_yuv420, load_clip
from overfit.methods.upsampler import METHOD, complexity
from overfit.methods.upsampler.architecture import networks

OPERATIONS = 1753.125  # of a step of klopp21 per pixel of its patches: table 1
PRESETS = {"offline": "klopp21", "zero latency": "klopp21-zero-latency"}
SIDE = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--qp", type=int, default=27)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="per repeat")
    arguments = parser.parse_args()
    clip = as_yuv420(load_clip(arguments.clip, arguments.frames))
    results = {}
    for name, preset in PRESETS.items():
        options = Options("upsampler", preset, qp=arguments.qp, set={"group": clip.frames})
        codec, _, config = configuration(options)
        options = options._replace(steps=METHOD.groups.steps(config))
        common_part = METHOD.groups.prepare(clip, arguments.qp, config)
        (signal,) = METHOD.groups.signals(clip, common_part, config)
        pixels = clip.frames * clip.height * clip.width
        group = Group([Fit(codec, preset, config, signal, options, pixels)])
        results[name] = bench_fit(group, arguments)
        print(name, results[name], flush=True)
        if name == "offline":
            results["decode"] = bench_decode(clip, group, common_part, config, arguments)
            print("decode", results["decode"], flush=True)
    common.save("bench_upsampler", results)


def timed(function: Callable) -> tuple[float, float]:
    """(seconds of the processor, seconds) of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - cpu, time.perf_counter() - wall


def bench_fit(group: Group, arguments) -> dict:
    matrix = jnp.ones((SIDE, SIDE))
    product = jax.jit(lambda a: a @ a)
    before = peak()
    states, tasks = fit.spread(*start(group))
    config, training = group.architecture, group.fits[0].config.training

    def advance() -> None:
        nonlocal states
        states = fit.advance(states, tasks, arguments.steps, group.codec.loss, config)
        jax.block_until_ready(states)

    def multiply() -> None:
        for _ in range(arguments.steps):
            product(matrix).block_until_ready()

    advance()
    multiply()
    turns = [(timed(advance), timed(multiply)) for _ in range(arguments.repeats)]
    step, step_wall, matmul, _ = (
        statistics.median(turn[i][j] for turn in turns) / arguments.steps
        for i in (0, 1)
        for j in (0, 1)
    )
    operations = OPERATIONS * training.batch * training.patch_height * training.patch_width
    steps = group.fits[0].options.steps
    return {
        "operations_per_step": operations,
        "step_cpu_seconds": step,
        "step_seconds": step_wall,
        "operations_per_cpu_second": operations / step,
        "matmul_per_cpu_second": SIDE**3 / matmul,
        "share_of_matmul": operations / step / (SIDE**3 / matmul),
        "fit_steps": steps,
        "fit_cpu_seconds": steps * step,
        "memory_added_mb": (peak() - before) / 1e6,
        "group_mb": sum(leaf.nbytes for leaf in jax.tree.leaves(group.fits[0].signal)) / 1e6,
    }


def peak() -> float:
    """Bytes that this process has had at most."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def bench_decode(clip, group: Group, common_part, config, arguments) -> dict:
    states, tasks = fit.spread(*start(group))
    states = fit.advance(states, tasks, 1, group.codec.loss, group.architecture)
    (result,) = fitted(group, Run(states, tasks, 0.0, 0.0, 1))
    code = METHOD.groups.assemble(clip.shape, common_part, [result.coded], config)
    data = container.pack("upsampler", list(METHOD.write(code, None).values()))
    full = base_stream.encode(clip, arguments.qp)
    turns = [
        (timed(lambda: decoding.decode(data)), timed(lambda: base_stream.decode(full, clip.shape)))
        for _ in range(arguments.repeats)
    ]
    ours, x265 = (clip.frames / statistics.median(turn[i][1] for turn in turns) for i in (0, 1))
    found = networks(config)
    return {
        "frames_per_second": ours,
        "x265_frames_per_second": x265,
        "macs_per_pixel": complexity.macs((3, clip.height, clip.width), config)["total"],
        "networks": list(found),
        "size": [clip.width, clip.height],
    }


if __name__ == "__main__":
    main()
