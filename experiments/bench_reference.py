"""Time and memory of the reference codec: coding in a wavefront beside raster order, no adaptation.

    python experiments/bench_reference.py KODAK_FOLDER --base NAME
    python experiments/bench_reference.py KODAK_FOLDER --large --preset reference-paper
    python experiments/bench_reference.py KODAK_FOLDER --set entropy.context=checkerboard

Without a base the networks are random: as fast as trained ones, with meaningless rates, which are
not recorded. --large codes a 2048x1365 enlargement instead, decodes it, and tells the memory of the
process that does.
Expected: both orders decode a 768x512 image in seconds at the small size.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

# Threads of BLAS wait for each other in a loop, for long where others use the machine, too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import common  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from overfit import method, settings  # noqa: E402
from overfit.bases import library  # noqa: E402
from overfit.bases.base import Base, quantized  # noqa: E402
from overfit.methods.reference import architecture, codec, encoder, model  # noqa: E402
from overfit.methods.reference.complexity import macs, published  # noqa: E402

LARGE = (2048, 1365)  # width, height
ROUNDS = 3
ORDERS = ("wavefront", "raster")  # the first is the default


def untrained(preset: str, changed: dict[str, str]) -> Base:
    config = settings.override(method.load("reference").presets[preset], changed)
    networks = model.init(np.random.default_rng(0), config)
    arrays = quantized(networks, architecture.exponent)
    return Base("reference", settings.lasting(config), arrays, {})


def timed(function, *arguments):
    """(result, (seconds, seconds of all cores together)); the second tells on a busy machine."""
    begin, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return result, (time.perf_counter() - begin, time.process_time() - cpu)


def measure(
    image: np.ndarray, base: Base, rounds: int, orders: tuple[str, ...] = ORDERS
) -> list[dict]:
    """Median seconds of every part, the orders taking turns."""
    signal = image.transpose(2, 0, 1).astype(np.float32) / 255
    config = codec.configuration(base)
    codes, times = {}, {}
    for _ in range(rounds):
        for order in orders:
            chosen = settings.override(config, {"order": order})
            code, analysis = timed(encoder.code, signal, base, 1e-3, chosen)
            sections, writing = timed(codec.write, code, base)
            again, reading = timed(codec.read, list(sections.values()), base)
            _, synthesis = timed(codec.reconstruct, again, base)
            assert np.array_equal(again.y, code.y)
            codes[order] = sum(map(len, sections.values()))
            times.setdefault(order, []).append([analysis, writing, reading, synthesis])
    parts = ("analysis", "write", "read", "synthesis")
    rows, columns = (side // 16 for side in architecture.padded(*image.shape[:2]))
    results = []
    for order, measured in times.items():
        wall, cpu = np.median(measured, axis=0).T.round(3).tolist()
        seconds, cores = (dict(zip(parts, values, strict=True)) for values in (wall, cpu))
        waves = len(architecture.order(rows, columns, order, config.entropy.context).starts) - 1
        decode = round(seconds["read"] + seconds["synthesis"], 3)
        found = {"order": order, "waves": waves, "seconds": seconds, "seconds_decode": decode}
        found |= {"cpu_seconds": cores, "load": round(os.getloadavg()[0], 1)}
        results.append(found | ({"bytes": codes[order]} if base.card else {}))
    return results


def large(image: np.ndarray, base: Base) -> dict:
    """Encodes and decodes once, in the default order."""
    (results,) = measure(image, base, 1, ORDERS[:1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return results | {"peak_gigabytes": round(peak, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--base")
    parser.add_argument("--preset", default="reference-small")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.base:
        base = library.find(arguments.base).load()
    else:
        base = untrained(arguments.preset, settings.parse_assignments(arguments.set))
    path = Path(arguments.folder) / "kodim23.png"
    image = np.asarray(Image.open(path).convert("RGB"))
    if arguments.child:
        print(json.dumps(large(np.asarray(Image.fromarray(image).resize(LARGE)), base)))
        return
    config = codec.configuration(base)
    results = {
        "networks": arguments.base or ", ".join(["untrained", arguments.preset, *arguments.set]),
        "size": list(image.shape[1::-1]),
        "macs_per_pixel": macs((3, *image.shape[:2]), config),
        "operations_by_the_papers_rule": published(*image.shape[:2], config),
    }
    if not arguments.large:
        results["orders"] = measure(image, base, ROUNDS)
    else:
        command = [sys.executable, *sys.argv, "--child"]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        results["large"] = json.loads(ended.stdout) | {"size": list(LARGE)}
    print(json.dumps(results, indent=1))
    stored = common.RESULTS / "bench_reference.json"
    known = json.loads(stored.read_text())["results"] if stored.exists() else {}
    known[results["networks"]] = known.get(results["networks"], {}) | results
    common.save("bench_reference", known)


if __name__ == "__main__":
    main()
