"""Where the time of encoding and decoding goes, and how much memory each takes.

    python experiments/bench_codec.py IMAGE [--steps 200]

The fit is short: its speed is bench_fit.py's subject, and the rest hardly depends on it.
Decoding is measured three ways: by stage inside a warm process, as a whole fresh process pinned
to one core (`overfit decode`, start-up included), and beside Pillow decoding the picture as PNG.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import jax
import jax.numpy as jnp
import numpy as np

from overfit import decoding
from overfit.coding import container
from overfit.engine import parameter_steps
from overfit.fitting.groups import Group, Options, Request, checked, run_group, start
from overfit.io.images import load_image, save_image

DECODE = """
import os, re, sys, time
os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
begin = time.perf_counter()
from overfit.cli import main
code = main(["decode", sys.argv[1], "-o", sys.argv[2], "--quiet"])
assert code == 0 and "jax" not in sys.modules
# VmHWM: ru_maxrss would count the parent that this process was forked from.
kilobytes = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(time.perf_counter() - begin, kilobytes / 1024)
"""


def timed(function, repeats=1):
    """(median seconds, last result)."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), result


def fresh_process(path: str, output: str) -> dict:
    """A whole decode on one core: wall seconds with the interpreter's start-up, peak memory."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", DECODE, path, output],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    inside, megabytes = map(float, done.stdout.split())
    return {
        "wall": time.perf_counter() - begin, "inside": inside, "peak_megabytes": megabytes
    }  # fmt: skip


def measure(image, preset: str, steps: int, repeats: int) -> dict:
    options = Options(preset=preset, steps=steps)
    one = checked(Request(image, options))
    codec, config = one.codec, one.config
    group = Group([one])
    finished = run_group(group, *start(group), "fit")
    params = jax.tree.map(lambda a: np.asarray(a[0]), finished.states.best_params)
    signal = jnp.asarray(one.signal, jnp.float32) / 255
    search, code = timed(
        lambda: codec.quantize(params, None, signal, 1e-3, config, parameter_steps.search)
    )
    write, sections = timed(lambda: codec.write(code, None), repeats)
    data = container.pack(codec.name, list(sections.values()))
    encode_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    _, sections = decoding.open_sections(data)
    read, decoded_code = timed(lambda: codec.read(sections, None), repeats)
    synthesis, decoded = timed(lambda: codec.reconstruct(decoded_code, None), repeats)
    with tempfile.TemporaryDirectory() as folder:
        path, output = str(Path(folder) / "a.ovf"), str(Path(folder) / "a.png")
        Path(path).write_bytes(data)
        processes = [fresh_process(path, output) for _ in range(repeats)]
        save_image(output, decoded)
        png, _ = timed(lambda: load_image(output), repeats)
    return {
        "preset": preset,
        "height": image.shape[0],
        "width": image.shape[1],
        "bytes": len(data),
        "encode": {
            "compile_seconds": finished.seconds_compile,
            "seconds_per_step": finished.seconds / finished.steps,
            "steps": finished.steps,
            "search_of_parameter_steps_seconds": search,
            "entropy_coding_seconds": write,
            "peak_megabytes": encode_peak,
        },
        "decode": {
            "entropy_decoding_seconds": read,
            "synthesis_seconds": synthesis,
            "fresh_process_one_core": {
                key: statistics.median(p[key] for p in processes) for key in processes[0]
            },
            "png_by_pillow_seconds": png,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--presets", nargs="+", default=["c3-kodak", "c3-clic"])
    arguments = parser.parse_args()
    image = load_image(arguments.image)
    rows = []
    for preset in arguments.presets:
        rows.append(measure(image, preset, arguments.steps, arguments.repeats))
        print(json.dumps(rows[-1], indent=1), flush=True)
        common.save("bench_codec", rows)


if __name__ == "__main__":
    main()
