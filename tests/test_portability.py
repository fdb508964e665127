"""The same file gives the same symbols in any process: threads, vector units, libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from overfit.coding import container
from overfit.coding.parameters import quantize
from overfit.methods.c3 import codec
from overfit.methods.c3.architecture import parameter_shapes
from overfit.methods.c3.config import C3Config, Entropy, Synthesis

GOLDEN = Path(__file__).parent / "golden"

# Decodes files, writes them again from what it has read, and tells what it has seen.
DECODE = """
import hashlib, json, pathlib, sys
from overfit import decoding
from test_golden import parts, symbols
answer = {}
for path in sys.argv[1:]:
    data = pathlib.Path(path).read_bytes()
    again = all(
        list(method.write(code, base).values()) == sections
        for method, base, sections, code in parts(data)
    )
    decoded = decoding.decode(data)
    planes = getattr(decoded, "planes", [decoded])  # of a 4:2:0 clip, or one
    answer[path] = [symbols(data), again, sum(int(plane.astype(int).sum()) for plane in planes)]
import numpy
answer["jax"] = sorted(m for m in sys.modules if m.split(".")[0] in ("jax", "jaxlib", "flax"))
answer["float"] = hashlib.sha256(
    numpy.tanh(numpy.random.default_rng(0).normal(size=(300, 300)).astype("f4")
    @ numpy.random.default_rng(1).normal(size=(300, 300)).astype("f4")).tobytes()).hexdigest()
print(json.dumps(answer))
"""


def vector_units() -> str:
    """Those beyond NumPy's baseline that this machine has, as NPY_DISABLE_CPU_FEATURES wants."""
    try:
        from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    except ImportError:
        return ""
    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))


def threads(count):
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(count))


ENVIRONMENTS = {
    "one BLAS thread": threads(1),
    "four BLAS threads": threads(4),
    "BLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "BLAS for Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "BLAS for Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "NumPy without vector units": {"NPY_DISABLE_CPU_FEATURES": vector_units()},
    "XLA for AVX, one thread": {
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX --xla_cpu_multi_thread_eigen=false", **threads(1),
    },
    "everything old": {
        "OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": vector_units(), **threads(1),
    },
}  # fmt: skip


def run(code, *arguments, **environment) -> str:
    """stdout of a fresh Python."""
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=GOLDEN,  # not where an unpacked source could be imported from
        env=os.environ | {"OVERFIT_BASES": str(GOLDEN)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def large_file() -> bytes:
    """Networks so wide that BLAS spreads their products over its threads."""
    rng = np.random.default_rng(0)
    config = C3Config(
        entropy=Entropy(widths=(64, 64), previous=1, per_grid="film"),
        synthesis=Synthesis(widths=()),
    )
    parameters = {}
    for network, arrays in parameter_shapes(config, 3).items():
        values = {n: rng.normal(0, 0.5 * shape[-1] ** -0.5, shape) for n, shape in arrays.items()}
        parameters[network] = {
            name: quantize(array + name.startswith("scale"), 11) for name, array in values.items()
        }
    parameters["entropy"]["b2"].k[1] -= 7 << 11
    latents = [
        np.rint(rng.laplace(0, 1.5, shape)).astype(np.int32)
        for shape in config.latents.shapes(160, 240)
    ]
    code = codec.Code(config, (3, 160, 240), parameters, latents)
    return container.pack("c3", list(codec.write(code).values()))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    large = tmp_path_factory.mktemp("portability") / "large.ovf"
    large.write_bytes(large_file())
    return [large, *sorted(GOLDEN.glob("*.ovf"))]


@pytest.fixture(scope="module")
def usual(files):
    return json.loads(run(DECODE, *files))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_decodes_the_same_symbols(name, files, usual):
    """A file that decodes on the machine that made it decodes everywhere."""
    answer = json.loads(run(DECODE, *files, **ENVIRONMENTS[name]))
    for path in map(str, files):
        symbols, written_again, brightness = answer[path]
        assert symbols == usual[path][0], path
        assert written_again, f"{path} is not written byte for byte"
        # Pixels are float and may differ by rounding, not more.
        assert abs(brightness - usual[path][2]) < 0.001 * abs(usual[path][2])


def test_decoding_needs_no_jax(usual):
    """Decoding starts in a fraction of a second and on machines without an accelerator."""
    assert usual["jax"] == []


@pytest.mark.parametrize("module", ["overfit", "overfit.cli", "overfit.decoding"])
def test_importing_needs_no_jax(module):
    loaded = run(f"import {module}, sys; print(*sys.modules)").split()
    assert module in loaded
    assert not {"jax", "jaxlib", "flax", "optax", "PIL", "constriction"} & set(loaded)
