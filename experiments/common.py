"""What the experiments share: images, fits through the encoder, results with their origin."""

import json
import os
import platform
import shlex
import sys
from pathlib import Path

# Before JAX starts: devices on CPU share the work, as the command line arranges it.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(4, os.cpu_count() or 1)))

from overfit.fitting import origin  # noqa: E402
from overfit.io.images import load_image  # noqa: E402
from overfit.io.json_file import write_json  # noqa: E402

# Of the environment, those that say how fast accelerators compute, and how exactly.
SETTINGS = ("XLA_FLAGS", "JAX_DEFAULT_MATMUL_PRECISION")
RESULTS = Path(__file__).parent / "results"


def crop(folder: str, name: str, size: int = 256, center: bool = False):
    """Top-left, or central, size x size crop of an image: uint8 [size, size, 3]."""
    image = load_image(str(Path(folder) / f"{name}.png"))
    top, left = ((side - size) // 2 if center else 0 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def machine() -> dict:
    """Where and with what a result was measured."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "device": origin.device(),
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "versions": origin.versions(),
    }


def _public(words: list[str]) -> list[str]:
    """A command without the paths of this machine: only the last part of each."""
    return [Path(word).name if os.path.isabs(word) else word for word in words]


def command() -> str:
    """The command that runs this process."""
    return shlex.join(["python", f"experiments/{Path(sys.argv[0]).name}", *_public(sys.argv[1:])])


def save(name: str, results, **more) -> None:
    """Writes experiments/results/NAME.json with the command and the machine."""
    document = {"command": command(), "machine": machine(), **more, "results": results}
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", document)


def stored(name: str, settings: dict) -> dict:
    """The results that NAME.json has at these settings, {} if none: what need not be run again."""
    path = RESULTS / f"{name}.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    return document["results"] if document.get("settings") == settings else {}
