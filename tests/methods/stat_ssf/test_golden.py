"""Files that were written once decode to the same symbols for ever, on every machine.

    python tests/methods/stat_ssf/test_golden.py

makes them again. That is right only after a deliberate change of the format, because it gives up
all files that users have.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import small_stat_ssf
from PIL import Image
from small_stat_ssf import clip_of
from test_portability import ENVIRONMENTS, run

from overfit.bases.base import identity, pack, unpack
from overfit.coding import container
from overfit.coding.parameters import quantize
from overfit.methods.stat_ssf import codec, encoder
from overfit.settings import override

FOLDER = Path(__file__).parent / "golden"
NAMES = ("plain", "adapted")

# Decodes files with a base, and tells hashes of their symbols and the brightness of the frames.
DECODE = """
import hashlib, json, pathlib, sys
from overfit import method
from overfit.bases.base import unpack
from overfit.coding import container, laplace
digest = hashlib.sha256()
class Recorder(laplace.Decoder):
    def code_rows(self, values, rows):
        coded = super().code_rows(values, rows)
        digest.update(coded.astype(">i8").tobytes())
        return coded
laplace.Decoder = Recorder
base, *paths = map(pathlib.Path, sys.argv[1:])
base, answer = unpack(base.read_bytes()), {}
codec = method.load("stat-ssf")
for path in paths:
    digest = hashlib.sha256()
    data = path.read_bytes()
    container.method_of(data)
    code = codec.read(container.unpack(data, len(codec.sections)), base)
    frames = codec.reconstruct(code, base)
    again = container.pack("stat-ssf", list(codec.write(code, base).values()), b"abc")
    answer[path.stem] = [digest.hexdigest(), again[11:] == data[11:], int(frames.astype(int).sum())]
print(json.dumps(answer))
"""


def file_of(base, name, clip):
    config = override(codec.configuration(base), {"gop": 2 if name == "plain" else 0})
    code = encoder.plain(clip, base, 1e-3, config)
    if name == "adapted":
        moves = np.random.default_rng(0)
        changes = {
            path: quantize(p.center.value() + 0.02 * moves.standard_normal(p.center.k.shape), 8, p)
            for path, p in codec.changeable("all", base).items()
        }
        code = code._replace(subset="all", changes=changes)
    code, _ = codec.encoded(code, base, clip.planes[0])
    prefix = bytes.fromhex(identity(pack(base)))[: container.BASE_BYTES]
    return container.pack("stat-ssf", list(codec.write(code, base).values()), prefix)


def paths():
    return [FOLDER / "base.ovb", *(FOLDER / f"{name}.ovf" for name in NAMES)]


@pytest.fixture(scope="module")
def usual():
    return json.loads(run(DECODE, *paths()))


def test_old_files_decode_to_the_same_symbols(usual):
    pins = json.loads((FOLDER / "golden.json").read_text())
    for name in NAMES:
        assert usual[name][0] == pins[name]
        assert usual[name][1], f"{name} is not written byte for byte"


def test_old_files_decode_to_the_same_frames(monkeypatch):
    monkeypatch.setenv("OVERFIT_BASES", str(FOLDER))
    import overfit

    for name in NAMES:
        frames = np.concatenate(list(overfit.decode((FOLDER / f"{name}.ovf").read_bytes())))
        expected = np.asarray(Image.open(FOLDER / f"{name}.png"))
        assert np.abs(frames.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", ["four BLAS threads", "everything old"])
def test_every_environment_decodes_the_same_symbols(name, usual):
    answer = json.loads(run(DECODE, *paths(), **ENVIRONMENTS[name]))
    for stem, (symbols, written, brightness) in answer.items():
        assert symbols == usual[stem][0] and written
        assert abs(brightness - usual[stem][2]) < 0.001 * abs(usual[stem][2])


def make() -> None:
    FOLDER.mkdir(exist_ok=True)
    base = unpack(pack(small_stat_ssf.base()))
    (FOLDER / "base.ovb").write_bytes(pack(base))
    for name in NAMES:
        data = file_of(base, name, clip_of(3, 40, 70))
        (FOLDER / f"{name}.ovf").write_bytes(data)
        frames = codec.reconstruct(codec.read(container.unpack(data, 3), base), base)
        Image.fromarray(np.concatenate(list(frames))).save(FOLDER / f"{name}.png")
        print(name, len(data), "bytes")
    answer = json.loads(run(DECODE, *paths()))
    pins = {name: answer[name][0] for name in NAMES}
    (FOLDER / "golden.json").write_text(json.dumps(pins, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(make())
