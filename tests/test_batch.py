"""`overfit batch`: many images, one file each."""

import json

import numpy as np
import pytest
from PIL import Image

import overfit
from overfit.cli import main

SMALL = {
    "latents.num_grids": 2,
    "entropy.widths": (4,),
    "entropy.context": 1,
    "synthesis.widths": (4,),
    "synthesis.residual_layers": 0,
}
SET = [
    word
    for key, value in SMALL.items()
    for word in (
        "--set",
        f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}",
    )
]


@pytest.fixture
def pictures(tmp_path, picture):
    """Two pictures that can be encoded and one that cannot."""
    (tmp_path / "in").mkdir()
    for i, name in enumerate(("a", "sub/b")):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.roll(picture(24, 32), 5 * i, axis=1)).save(path)
    (tmp_path / "in" / "c.png").write_bytes(b"damaged")
    return tmp_path / "in"


def test_each_picture_gets_the_file_it_would_get_alone(pictures, tmp_path, capsys):
    arguments = [str(pictures), "-o", str(tmp_path / "out"), "--steps", "20", *SET]
    arguments += ["--workers", "2", "--json", str(tmp_path / "about.json")]
    assert main(["batch", *arguments]) == 1
    out, err = capsys.readouterr()
    assert "2 files" in out and "failed: c, " in err
    assert err.splitlines()[-1].startswith("overfit: error: one failure")
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["files"] == 2 and [f["name"] for f in about["failures"]] == ["c"]
    for record in about["results"]:
        image = np.asarray(Image.open(record["input"]))
        data = (tmp_path / "out" / record["file"]).read_bytes()
        assert data == overfit.encode(image, set=SMALL, steps=20)
        assert record["file"] == f"{record['name']}.ovf" and record["bytes"] == len(data)
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    (pictures / "c.png").unlink()
    assert main(["batch", *arguments]) == 0
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [["--steps", "0"], ["--preset", "c4"], ["--target-bpp", "0"], ["--set", "x=1"]]
)
def test_bad_options_are_refused_at_once(pictures, tmp_path, capsys, arguments):
    assert main(["batch", str(pictures), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert not (tmp_path / "out").exists()
    assert len(capsys.readouterr().err.splitlines()) == 1
