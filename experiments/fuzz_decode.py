"""Decodes damaged files: each must end in a UserError or an image, soon and in bounded memory.

    python experiments/fuzz_decode.py --count 10000
    python experiments/fuzz_decode.py --count 3000 --methods reference stat-ssf

Mutates the golden files of the tests (and one of a flat image) by truncation, flipped bits,
inserted and removed bytes, sections of noise, and header fields at their extremes; most get a valid
checksum again, so that the layers behind it are reached. A worker process with limited memory
decodes them, with all bases that they need.
Expected: no failures; about a third of the files decode to some image.
"""

import argparse
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from overfit import decoding
from overfit.coding import clip_container, container
from overfit.coding.container import read_varint, write_varint

SECONDS = 5.0  # of one core's time a file may take
PATIENCE = 60.0  # seconds until a worker that does not answer is ended
MEGABYTES = 1000  # a file may allocate
TESTS = Path(__file__).parent.parent / "tests"
GOLDEN = [TESTS / "golden", *sorted(TESTS.glob("methods/*/golden"))]
LEARNED = ("reference", "stat-ssf")  # nothing is known but the base
SIZES = (0, 1, 2, 3, 255, 2048, 4096, 5792, 8192, 2**14, 2**14 + 1, 2**25, 2**32 - 1, 2**35 - 1)


# -- Mutations -------------------------------------------------------------------------------------


def golden() -> list[bytes]:
    return [path.read_bytes() for folder in GOLDEN for path in sorted(folder.glob("*.ovf"))]


def method_of(data: bytes) -> str:
    return "clip" if clip_container.is_clip(data) else container.method_of(data)


def sized(files: list[bytes]) -> list[bytes]:
    """Those whose header starts with width and height, as some mutations know, and a flat one."""
    return [data for data in files if method_of(data) in ("c3", *LEARNED)] + [flat()]


def flat() -> bytes:
    """A file of a flat image, 48x40: hardly any bits for each latent, the longest to go on."""
    from overfit.coding.parameters import Quantized
    from overfit.methods.c3 import codec
    from overfit.methods.c3.architecture import parameter_shapes
    from overfit.methods.c3.config import KODAK

    parameters = {
        network: {name: Quantized(np.zeros(shape, np.int64), 1) for name, shape in arrays.items()}
        for network, arrays in parameter_shapes(KODAK, 3).items()
    }
    latents = [np.zeros(shape, np.int32) for shape in KODAK.latents.shapes(40, 48)]
    sections = codec.write(codec.Code(KODAK, (3, 40, 48), parameters, latents))
    return container.pack("c3", list(sections.values()))


def with_checksum(data: bytes) -> bytes:
    """The data with the checksum that `container` expects."""
    return data[:4] + container._checksum(data) + data[8:] if len(data) >= 8 else data


def _sections(data: bytes) -> list[bytes]:
    return decoding.open_sections(data)[1]


def _like(data: bytes, sections: list[bytes]) -> bytes:
    """A file with other sections, of the same method and base."""
    return container.pack(container.method_of(data), sections, container.base_of(data))


def truncated(rng, data):
    return data[: rng.integers(len(data))]


def flipped(rng, data):
    """One to eight bits."""
    damaged = bytearray(data)
    for bit in rng.integers(8 * 3, 8 * len(data), rng.integers(1, 9)):
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def overwritten(rng, data):
    """A run of bytes: noise, zeros or ones."""
    start, length = rng.integers(8, len(data)), int(rng.choice([1, 4, 32, 1000]))
    run = [rng.bytes(length), bytes(length), b"\xff" * length][rng.integers(3)]
    return data[:start] + run[: len(data) - start] + data[start + length :]


def inserted(rng, data):
    start, length = rng.integers(4, len(data)), int(rng.choice([1, 4, 32, 1000]))
    return data[:start] + [rng.bytes(length), bytes(length)][rng.integers(2)] + data[start:]


def removed(rng, data):
    start = rng.integers(4, len(data))
    return data[:start] + data[start + int(rng.choice([1, 4, 32, 1000])) :]


def resized(rng, data):
    """Width and height at extremes, all else as it was."""
    header, *rest = _sections(data)
    width, position = read_varint(header, 0)
    height, position = read_varint(header, position)
    choices = [int(rng.choice(SIZES)), int(rng.choice(SIZES))]
    which = rng.integers(3)
    sizes = [choices[0] if which != 1 else width, choices[1] if which != 0 else height]
    return _like(data, [b"".join(map(write_varint, sizes)) + header[position:], *rest])


def redesigned(rng, data):
    """Runs of bits of all else in the header set to all zeros, all ones, or noise."""
    header, *rest = _sections(data)
    _, position = read_varint(header, 0)
    _, position = read_varint(header, position)
    size = 8 * (len(header) - position)
    bits = list(format(int.from_bytes(header[position:], "big"), f"0{size}b"))
    for _ in range(rng.integers(1, 4)):
        start, length = rng.integers(size), rng.integers(1, 9)
        kind = rng.integers(3)
        for i in range(start, min(start + length, size)):
            bits[i] = "01"[kind] if kind < 2 else "01"[rng.integers(2)]
    # More layers need more widths: let there be some.
    tail = [b"", b"\xff" * 11, rng.bytes(11)][rng.integers(3)]
    design = int("".join(bits), 2).to_bytes(size // 8, "big") + tail
    return _like(data, [header[:position] + design, *rest])


def refilled(rng, data):
    """Networks or latents replaced by noise, zeros, nothing, or those of another length."""
    sections = _sections(data)
    which, length = rng.integers(1, 3), int(rng.choice([0, 1, 100, 5000, 100_000]))
    fills = [rng.bytes(length), bytes(length), b"\xff" * length, sections[which][: length // 4]]
    sections[which] = fills[rng.integers(4)]
    return _like(data, sections)


def crossed(rng, data):
    """A section of another file of the method."""
    others = [other for other in sized(golden()) if method_of(other) == method_of(data)]
    sections, other = _sections(data), _sections(others[rng.integers(len(others))])
    which = rng.integers(3)
    sections[which] = other[which]
    return _like(data, sections)


def mislabeled(rng, data):
    """Another version or method, or lengths of sections at extremes."""
    if rng.integers(3) == 0:
        return data[:3] + rng.bytes(1) + data[4:]
    lengths = b"".join(write_varint(int(rng.choice(SIZES))) for _ in range(2))
    start = 8 + len(container.base_of(data))
    return data[:start] + lengths + data[start + 3 :]


OF_ALL = (truncated, flipped, flipped, overwritten, inserted, removed)
OF_SIZED = (resized, resized, redesigned, redesigned, refilled, crossed, mislabeled)
MUTATIONS = OF_ALL + OF_SIZED


def mutations(
    count: int, seed: int = 0, methods: list[str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """(kind, damaged file), the same ones for the same seed; of all methods, or of some."""
    rng = np.random.default_rng(seed)
    files = [data for data in golden() if methods is None or method_of(data) in methods]
    with_size = [data for data in sized(files) if methods is None or method_of(data) in methods]
    originals = {OF_ALL: files, OF_SIZED: with_size}
    for i in range(count):
        mutate = MUTATIONS[i % len(MUTATIONS)]
        choices = originals[OF_ALL if mutate in OF_ALL else OF_SIZED]
        data = mutate(rng, choices[rng.integers(len(choices))])
        if rng.random() < 0.3:  # two at once
            again = (flipped, overwritten)[rng.integers(2)]
            data = again(rng, data) if len(data) > 9 else data
        yield mutate.__name__, with_checksum(data) if rng.random() < 0.9 else data


# -- A process that decodes ------------------------------------------------------------------------

# Reads length and file, answers with a line of JSON. The limit counts from what a decoder needs.
WORKER = """
import json, resource, struct, sys, time
import overfit
overfit.decode(sys.stdin.buffer.read(struct.unpack("<I", sys.stdin.buffer.read(4))[0]))
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[1]) * 10**6
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("ready", flush=True)
while head := sys.stdin.buffer.read(4):
    data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
    start = time.process_time()
    try:
        image = overfit.decode(data)
        outcome, message = "image", "x".join(map(str, image.shape))
    except overfit.UserError as error:
        outcome, message = "refused", str(error)
    except BaseException as error:
        outcome, message = "failed", f"{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    answer = {"outcome": outcome, "message": message, "seconds": seconds, "megabytes": peak / 1e3}
    print(json.dumps(answer), flush=True)
"""


class Worker:
    """Decodes files in another process, which is started again when it dies or hangs."""

    def __init__(self):
        self._process = None
        self._folder = tempfile.TemporaryDirectory()
        for i, path in enumerate(base for folder in GOLDEN for base in folder.glob("*.ovb")):
            shutil.copy(path, Path(self._folder.name, f"{i}.ovb"))

    def _start(self):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        environment["OVERFIT_BASES"] = self._folder.name
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(MEGABYTES)],
            cwd=self._folder.name,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._send(flat())
        assert self._process.stdout.readline() == b"ready\n"

    def _send(self, data: bytes):
        self._process.stdin.write(struct.pack("<I", len(data)) + data)
        self._process.stdin.flush()

    def decode(self, data: bytes) -> dict:
        """{"outcome": image, refused, failed, died or hung; "message", "seconds", "megabytes"}."""
        if self._process is None:
            self._start()
        try:
            self._send(data)
            # The worker counts its own time; this clock runs on when the machine is busy.
            if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
                self._stop()
                return {"outcome": "hung", "message": "", "seconds": PATIENCE, "megabytes": 0}
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            self._stop()
            return {"outcome": "died", "message": "", "seconds": 0.0, "megabytes": 0}
        return json.loads(line)

    def close(self):
        self._stop()
        self._folder.cleanup()

    def _stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def is_failure(answer: dict) -> bool:
    return (
        answer["outcome"] not in ("image", "refused")
        or answer["seconds"] > SECONDS
        or answer["megabytes"] > MEGABYTES
        or (answer["outcome"] == "refused" and not answer["message"].strip())
        or "\n" in answer["message"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", help="default: all that there are files of")
    parser.add_argument("--keep", metavar="DIR", help="write the files that fail there")
    arguments = parser.parse_args()

    outcomes: dict[str, Counter] = {}
    reasons, failures, slowest, peak = Counter(), [], [], 0.0
    worker = Worker()
    found = mutations(arguments.count, arguments.seed, arguments.methods)
    for i, (kind, data) in enumerate(found):
        answer = worker.decode(data)
        outcomes.setdefault(kind, Counter())[answer["outcome"]] += 1
        if answer["outcome"] == "refused":
            reasons["".join(c for c in answer["message"] if not c.isdigit())] += 1
        peak = max(peak, answer["megabytes"])
        slowest = sorted([*slowest, (answer["seconds"], kind, i)], reverse=True)[:5]
        if is_failure(answer):
            failures.append({"index": i, "kind": kind, **answer})
            print(i, kind, answer, file=sys.stderr)
            if arguments.keep:
                Path(arguments.keep, f"{i}.ovf").write_bytes(data)
    worker.close()

    import common

    results = {
        "files": arguments.count,
        "failures": failures,
        "outcomes": dict(sum(outcomes.values(), Counter())),
        "outcomes_by_kind": {kind: dict(counts) for kind, counts in outcomes.items()},
        "slowest": [{"seconds": round(s, 3), "kind": k, "index": i} for s, k, i in slowest],
        "peak_megabytes": round(peak, 1),
        "reasons": dict(reasons.most_common()),
    }
    print(json.dumps(results, indent=1))
    common.save("_".join(["fuzz_decode", *(arguments.methods or [])]), results)


if __name__ == "__main__":
    main()
