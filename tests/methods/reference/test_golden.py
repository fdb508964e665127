"""Files that were written once decode to the same symbols for ever, on every machine.

    python tests/methods/reference/test_golden.py

makes them again. That is right only after a deliberate change of the format, because it gives up
all files that users have.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import small_reference
from PIL import Image
from test_portability import ENVIRONMENTS, run

from overfit.bases.base import identity, pack, unpack
from overfit.coding import container
from overfit.coding.parameters import quantize
from overfit.methods.reference import codec, encoder
from overfit.settings import override

FOLDER = Path(__file__).parent / "golden"
# {name: {settings of its base: value}}; of bases, the first one's is base.ovb.
FILES: dict[str, dict[str, str]] = {
    "wavefront": {},
    "raster": {},
    "adapted": {},
    "mixture": {"entropy__distribution": "mixture"},
    "checkerboard": {"entropy__context": "checkerboard"},
}

# Decodes pairs of a base and a file, and tells hashes of the symbols and the images' brightness.
DECODE = """
import hashlib, json, pathlib, sys
import numpy as np
from overfit import method
from overfit.bases.base import unpack
from overfit.coding import container
paths, answer = iter(map(pathlib.Path, sys.argv[1:])), {}
codec = method.load("reference")
for path in paths:
    base, path = unpack(path.read_bytes()), next(paths)
    data = path.read_bytes()
    container.method_of(data)
    code = codec.read(container.unpack(data, len(codec.sections)), base)
    digest = hashlib.sha256()
    for plane in (code.y, code.z, *(change.k for change in code.changes.values())):
        digest.update(np.asarray(plane).astype(">i8").tobytes())
    again = container.pack("reference", list(codec.write(code, base).values()), b"abc")
    written = again[11:] == data[11:]
    image = codec.reconstruct(code, base)
    answer[path.stem] = [digest.hexdigest(), written, int(image.astype(int).sum())]
print(json.dumps(answer))
"""


def code_of(base, name, picture):
    config = codec.configuration(base)
    config = override(config, {"order": "raster" if name == "raster" else "wavefront"})
    code = encoder.code(picture.transpose(2, 0, 1).astype(np.float32) / 255, base, 1e-3, config)
    if name != "adapted":
        return code
    moves = np.random.default_rng(0)
    changes = {
        path: quantize(p.center.value() + 0.02 * moves.standard_normal(p.center.k.shape), 8, p)
        for path, p in codec.changeable("all", base).items()
    }
    return code._replace(subset="all", changes=changes)


def file_of(base, code):
    prefix = bytes.fromhex(identity(pack(base)))[: container.BASE_BYTES]
    return container.pack("reference", list(codec.write(code, base).values()), prefix)


def base_of(name):
    return FOLDER / (f"{name}-base.ovb" if FILES[name] else "base.ovb")


def paths():
    return [path for name in FILES for path in (base_of(name), FOLDER / f"{name}.ovf")]


@pytest.fixture(scope="module")
def large(tmp_path_factory, picture):
    """Networks so wide that BLAS spreads their products over its threads."""
    changes: dict = {"transform__latents": 96, "entropy__hyper_width": 32, "transform__width": 8}
    changes["entropy__distribution"] = "mixture"
    folder = tmp_path_factory.mktemp("large")
    base = small_reference.base(**changes)
    (folder / "base.ovb").write_bytes(pack(base))
    data = file_of(base, code_of(base, "large", picture(320, 320)))
    (folder / "large.ovf").write_bytes(data)
    return [folder / "base.ovb", folder / "large.ovf"]


@pytest.fixture(scope="module")
def usual(large):
    return [json.loads(run(DECODE, *files)) for files in (paths(), large)]


def test_old_files_decode_to_the_same_symbols(usual):
    pins = json.loads((FOLDER / "golden.json").read_text())
    for name in FILES:
        assert usual[0][name][0] == pins[name]
        assert usual[0][name][1], f"{name} is not written byte for byte"


def test_old_files_decode_to_the_same_picture(monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(FOLDER))
    import overfit

    for name in FILES:
        image = overfit.decode((FOLDER / f"{name}.ovf").read_bytes())
        expected = np.asarray(Image.open(FOLDER / f"{name}.png"))
        assert np.abs(image.astype(int) - expected).max() <= 1


def test_tables_of_old_bases_are_read():
    for name, changed in FILES.items():
        base = unpack(base_of(name).read_bytes())
        assert base.method == "reference" and base.card == {"from": "a test"}
        for path, value in changed.items():
            assert base.settings[path.replace("__", ".")] == value


@pytest.mark.parametrize("name", ["four BLAS threads", "everything old"])
def test_every_environment_decodes_the_same_symbols(name, usual, large):
    for files, before in zip((paths(), large), usual, strict=True):
        answer = json.loads(run(DECODE, *files, **ENVIRONMENTS[name]))
        for stem, (symbols, written, brightness) in answer.items():
            assert symbols == before[stem][0] and written
            assert abs(brightness - before[stem][2]) < 0.001 * abs(before[stem][2])


def make() -> None:
    from conftest import make_picture

    FOLDER.mkdir(exist_ok=True)
    pins = {}
    for name, changed in FILES.items():
        base = small_reference.base(**changed)
        base_of(name).write_bytes(pack(base))
        data = file_of(base, code_of(base, name, make_picture(70, 90)))
        (FOLDER / f"{name}.ovf").write_bytes(data)
        code = codec.read(container.unpack(data, 3), base)
        Image.fromarray(codec.reconstruct(code, base)).save(FOLDER / f"{name}.png")
        digest = hashlib.sha256()
        for plane in (code.y, code.z, *(change.k for change in code.changes.values())):
            digest.update(np.asarray(plane).astype(">i8").tobytes())
        pins[name] = digest.hexdigest()
        print(name, len(data), "bytes")
    (FOLDER / "golden.json").write_text(json.dumps(pins, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(make())
