"""Speed and memory of STAT-SSF: training, adaptation, coding and decoding.

    python experiments/bench_stat_ssf.py ../shared/data/video/BasketballPass_416x240_50fps_rgb

Networks are random ones of the small preset, or those of --base: they are as fast. Training and
adaptation are told in frames per second of processor time, and as a share of the rate of a 1024 x
1024 float32 matrix product that is measured in turns with them; a step counts three times the
multiply-accumulates of its forward pass. Memory is the peak of fresh processes that code a clip,
and one of four times its length.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

# Threads of BLAS wait for each other in a loop, for long where others use the machine, too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import common  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from stat_ssf_bases import step_macs  # noqa: E402

from overfit import method, settings  # noqa: E402
from overfit.bases import library  # noqa: E402
from overfit.bases.base import Base, quantized  # noqa: E402
from overfit.bases.base import start as floats_of  # noqa: E402
from overfit.io.clip import Clip  # noqa: E402
from overfit.io.clips import as_rgb, load_clip  # noqa: E402
from overfit.methods.stat_ssf import (  # noqa: E402
    adaptation,
    architecture,
    codec,
    complexity,
    encoder,
    model,
)

SIDE, ROUNDS, STEPS = 1024, 5, 3


def untrained() -> Base:
    config = method.load("stat-ssf").presets["stat-ssf-small"]
    networks = encoder.freeze(model.init(np.random.default_rng(0), config), config)
    return Base(
        "stat-ssf", settings.lasting(config), quantized(networks, architecture.exponent), {}
    )


def cpu_seconds(function, *arguments) -> float:
    begin = time.process_time()
    jax.block_until_ready(function(*arguments))
    return time.process_time() - begin


def bench_gradients(base: Base, clip: Clip) -> dict:
    """A step of training and one of adaptation on a window, beside matrix products."""
    config = codec.configuration(base)
    signal = jax.tree.map(jnp.asarray, adaptation.windows(clip, 0, config))
    known = jax.tree.map(jnp.asarray, floats_of(base))
    params = adaptation.init(jax.random.key(0), signal, known, config)
    window = signal[0][0].astype(jnp.float32) / 255

    def train(networks, key):
        return model.training_loss(networks, window, key, 0.0, config)[0]

    def adapt(params, key):
        return adaptation.loss(params, known, signal, key, None, jnp.float32(1e-3), config)[0]

    trained = {n: {k: v for k, v in a.items() if v.ndim} for n, a in known.networks.items()}
    programs = {
        "training": (jax.jit(jax.grad(train)), trained),
        "adaptation": (jax.jit(jax.grad(adapt)), params),
    }
    matrix, product = jnp.ones((SIDE, SIDE)), jax.jit(lambda a: a @ a)
    key = jax.random.key(0)
    for program, first in programs.values():
        cpu_seconds(program, first, key)
    cpu_seconds(product, matrix)
    turns: dict[str, list[float]] = {"product": [], **{name: [] for name in programs}}
    for _ in range(ROUNDS):
        turns["product"].append(cpu_seconds(product, matrix))
        for name, (program, first) in programs.items():
            spent = sum(cpu_seconds(program, first, key) for _ in range(STEPS)) / STEPS
            turns[name].append(spent)
    peak = SIDE**3 / statistics.median(turns["product"])
    frames, pixels = window.shape[0], window[0, 0].size
    macs = step_macs(frames, pixels, config)
    found = {}
    for name in programs:
        seconds = statistics.median(turns[name])
        found[name] = {
            "cpu_seconds_per_step": seconds,
            "window": [frames, *window.shape[2:]],
            "frames_per_cpu_second": frames / seconds,
            "macs_per_step": macs,
            "share_of_matmul": macs / seconds / peak,
        }
    return found | {"matmul_macs_per_cpu_second": peak}


def bench_coding(base: Base, clip: Clip) -> dict:
    config = codec.configuration(base)
    plain = encoder.plain(clip, base, 1e-3, config)
    times: dict[str, list[float]] = {"encode": [], "decode": []}
    code = plain
    for _ in range(ROUNDS):
        begin = time.process_time()
        code, _ = codec.encoded(plain, base, clip.planes[0])
        times["encode"].append(time.process_time() - begin)
        begin = time.process_time()
        codec.reconstruct(code, base)
        times["decode"].append(time.process_time() - begin)
    return {
        "size": [clip.width, clip.height],
        "frames": clip.frames,
        "macs_per_pixel": complexity.frame_macs(config),
        **{
            f"{name}_frames_per_cpu_second": clip.frames / statistics.median(values)
            for name, values in times.items()
        },
    }


def memory(path: str, base: str | None, copies: int) -> dict:
    """Peak of a fresh process: coding, then decoding frame by frame."""
    clip = _repeated(as_rgb(load_clip(path, 8)), copies)
    known = library.find(base).load() if base else untrained()
    config = codec.configuration(known)
    code, _ = codec.encoded(encoder.plain(clip, known, 1e-3, config), known, clip.planes[0])
    frames = sum(1 for _ in codec.decoded(code, known))
    # The peak of getrusage() would be that of the process before, which started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
    clip_megabytes = clip.planes[0].nbytes / 1e6
    return {"frames": frames, "peak_megabytes": peak, "clip_megabytes": clip_megabytes}


def _repeated(clip: Clip, copies: int) -> Clip:
    return Clip((np.concatenate([clip.planes[0]] * copies),), clip.fps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip")
    parser.add_argument("--base")
    parser.add_argument("--copies", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.copies:
        print(json.dumps(memory(arguments.clip, arguments.base, arguments.copies)))
        return
    base = library.find(arguments.base).load() if arguments.base else untrained()
    clip = as_rgb(load_clip(arguments.clip, 8))
    results = {"networks": arguments.base or "untrained", "coding": bench_coding(base, clip)}
    results |= bench_gradients(base, clip)
    results["memory"] = []
    for copies in (1, 4):
        command = [sys.executable, *sys.argv, "--copies", str(copies)]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        results["memory"].append(json.loads(ended.stdout))
    print(json.dumps(results, indent=1))
    common.save("bench_stat_ssf", results)


if __name__ == "__main__":
    main()
