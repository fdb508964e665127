"""200 jobs of a tiny budget, while workers and the driver are killed: is the summary right?

    python experiments/many_jobs.py PICTURES...

Crops of 64x64 pixels of the pictures, and two files that are no pictures, are given to `overfit
batch`. As they run, processes get SIGKILL: a worker after every 40 results, the driver after 60 and
after 120. The same command is given again until it ends by itself.
Expected: every crop has one file, which decodes; both bad inputs are in the summary, and the exit
code is 1; a job is begun again only where its process was killed.
"""

import argparse
import collections
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
from PIL import Image

import overfit
from overfit.io.datasets import find_all
from overfit.io.images import load_image
from overfit.jobs.store import RESULTS, read_results

COUNT, SIZE = 198, 64
KILL_WORKER_EVERY, KILL_DRIVER_AT = 40, (60, 120)


def crops(pictures: list[str], output: Path) -> None:
    """COUNT crops, as many of each picture as it takes, and two broken files."""
    output.mkdir()
    instances, made = find_all(pictures), 0
    for turn in itertools.count():
        for instance in instances:
            if made == COUNT:
                break
            image = load_image(instance.path)
            left = turn * SIZE
            Image.fromarray(image[:SIZE, left : left + SIZE]).save(output / f"{made:03}.png")
            made += 1
        if made == COUNT:
            break
    for name in ("broken1", "broken2"):
        (output / f"{name}.png").write_bytes((output / "000.png").read_bytes()[:60])


def children(pid: int) -> list[int]:
    """The worker processes of a driver, by what runs in them."""
    listed = subprocess.run(
        ["pgrep", "-P", str(pid), "-f", "spawn_main"], capture_output=True, text=True
    )
    return [int(word) for word in listed.stdout.split()]


def results(folder: Path) -> int:
    path = folder / RESULTS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def run(command: list[str], folder: Path) -> dict:
    """Gives the command until it ends by itself; what was killed, and the last exit code."""
    workers = drivers = 0
    driver_kills = list(KILL_DRIVER_AT)
    while True:
        process = subprocess.Popen(command)
        while process.poll() is None:
            time.sleep(0.05)
            done = results(folder)
            if driver_kills and done >= driver_kills[0]:
                process.send_signal(signal.SIGKILL)
                process.wait()
                driver_kills.pop(0)
                drivers += 1
            elif done >= KILL_WORKER_EVERY * (workers + 1) and (pids := children(process.pid)):
                os.kill(pids[0], signal.SIGKILL)
                workers += 1
        if process.returncode != -signal.SIGKILL:
            return {
                "exit_code": process.returncode,
                "workers_killed": workers,
                "drivers_killed": drivers,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="+", help="files or folders")
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        inputs, output = Path(temporary) / "in", Path(temporary) / "out"
        crops(arguments.pictures, inputs)
        output.mkdir()
        events = Path(temporary) / "events.jsonl"
        command = [sys.executable, "-m", "overfit", "batch", str(inputs), "-o", str(output)]
        command += ["--steps", str(arguments.steps), "--quiet", "--events", str(events)]
        start = time.perf_counter()
        found = run(command, output)
        summary = json.loads((output / "summary.json").read_text())
        records, damaged = read_results(output)
        lines = (output / RESULTS).read_text().count("\n")
        decodable = sum(
            overfit.decode((output / r["file"]).read_bytes()).shape == (SIZE, SIZE, 3)
            for r in records
        )
        begun = collections.Counter()
        for line in events.read_text().splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # the line that a killed driver was at
                continue
            begun[event["name"]] += event["event"] == "begin"
        found |= {
            "jobs": COUNT + 2,
            "files_in_summary": summary["files"],
            "failures_in_summary": sorted(f["name"] for f in summary["failures"]),
            "records": len(records),
            "lines_in_index": lines,
            "damaged_lines": len(damaged),
            "files_that_decode": decodable,
            "jobs_begun_more_than_once": sum(
                count > 1 for name, count in begun.items() if not name.startswith("broken")
            ),
            "seconds": time.perf_counter() - start,
        }
    print(found)
    common.save("many_jobs", found, settings={"steps": arguments.steps, "size": SIZE})


if __name__ == "__main__":
    main()
