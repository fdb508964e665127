"""`overfit sweep` of a clip: settings per patch, in one file that says what was chosen."""

import io
import json

import numpy as np
import pytest

import overfit
from overfit.cli import main
from overfit.coding import clip_container
from overfit.io.clips import as_rgb, load_clip
from overfit.io.colour import BT709, rgb_to_yuv420
from overfit.jobs.store import read_results

SIZE, PATCH = (4, 16, 24), "2,16,24"
TOML = """
[budget]
steps = 60
[set]
"latents.num_grids" = 2
"entropy.context" = 1
"entropy.widths" = [4]
"entropy.frame" = 1
"synthesis.widths" = [4]
"synthesis.residual_layers" = 0
[axes]
preset = ["c3-uvg-shared", "c3-uvg-separate"]
"""


@pytest.fixture(scope="module")
def swept(picture, tmp_path_factory):
    """(folder of the sweep, its summary, the command, the clip)."""
    folder = tmp_path_factory.mktemp("sweep")
    still = picture(SIZE[1] + SIZE[0], SIZE[2] + 2 * SIZE[0])
    clip = np.stack([still[t : t + SIZE[1], 2 * t : 2 * t + SIZE[2]] for t in range(SIZE[0])])
    clip[2:] //= 3  # patches that differ
    (folder / "clips").mkdir()
    head = f"YUV4MPEG2 W{SIZE[2]} H{SIZE[1]} F25:1\n".encode()
    planes = [rgb_to_yuv420(frame, BT709, False) for frame in clip]
    frames = [b"FRAME\n" + b"".join(p.tobytes() for p in frame) for frame in planes]
    (folder / "clips" / "moving.y4m").write_bytes(head + b"".join(frames))
    clip = as_rgb(load_clip(folder / "clips" / "moving.y4m")).planes[0]
    (folder / "sweep.toml").write_text(TOML)
    command = ["sweep", str(folder / "sweep.toml"), f"clips:{folder / 'clips'}"]
    command += ["-o", str(folder / "out"), "--patch", PATCH, "--workers", "1", "--quiet"]
    command += ["--strategy", "grid"]
    assert main([*command, "--json", str(folder / "a.json")]) == 0
    return folder / "out", json.loads((folder / "a.json").read_text()), command, clip


def test_the_file_has_the_best_setting_of_every_patch(swept):
    output, summary, _, clip = swept
    (line,) = summary["results"]
    assert line["settings"] == 2 and len(line["patches"]) == 2
    records = read_results(output)[0]
    data = (output / line["file"]).read_bytes()
    reader = clip_container.Reader(io.BytesIO(data))
    for i, patch in enumerate(line["patches"]):
        name = f"moving+{patch['start'][0]}+0+0"
        costs = {r["mse"] / 255**2 + 1e-3 * r["bpp"]: r for r in records if r["name"] == name}
        assert len(costs) == 2
        best = costs[min(costs)]
        assert patch["cost"] == min(costs) and patch["sweep_setting"] == best["sweep_setting"]
        file = (output / best["file"]).read_bytes()
        assert reader.patch(i, 3) == clip_container.Reader(io.BytesIO(file)).patch(0, 3)
        about = overfit.info(file)["settings"]
        separate = best["sweep_setting"]["preset"] == "c3-uvg-separate"
        assert (about["entropy.per_grid"] == "separate") == separate
    assert line["bytes"] == len(data) and line["cost"] > 1e-3 * line["bpp"]
    assert overfit.decode(data).shape == clip.shape
    error = (overfit.decode(data).astype(float) - clip) / 255
    assert line["cost"] == pytest.approx(np.mean(error**2) + 1e-3 * line["bpp"])


def test_the_same_command_again_does_nothing_again(swept):
    output, summary, command, _ = swept
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*.ovf")}
    assert main([*command, "--json", str(output.parent / "b.json")]) == 0
    assert json.loads((output.parent / "b.json").read_text()) == summary
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*.ovf")} == before
