"""`overfit evaluate`: real files, one line a result, nothing done twice, failures kept apart."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from overfit import evaluation
from overfit.cli import main
from overfit.errors import UserError
from overfit.evaluation import Plan
from overfit.io.datasets import find_all
from overfit.jobs import records, work
from overfit.jobs.store import read_results
from overfit.metrics.psnr import psnr
from overfit.report.curves import read_curve


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with an RGB and a grey picture, smooth and a little noisy."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:34, 0:41] / 40
    planes = np.stack([np.sin(4 * x), np.cos(3 * y), x * y], axis=-1)
    image = np.uint8(np.clip(128 + 60 * planes + rng.normal(0, 3, planes.shape), 0, 255))
    Image.fromarray(image).save(folder / "colour.png")
    Image.fromarray(image[..., 0]).save(folder / "grey.png")
    return folder


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of `overfit evaluate`."""
    code = main(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


CLASSICAL = (
    "--workers",
    1,
    "--methods",
    "jpeg,webp",
    "--ladder",
    "jpeg=20,50,90",
    "--ladder",
    "webp=30,80",
)


def test_every_figure_is_that_of_a_stored_file(capsys, pictures, tmp_path):
    code, out, err = run(capsys, pictures, "-o", tmp_path, *CLASSICAL)
    assert code == 0 and out.startswith("averages over 2") and "10/10" in err
    kept, damaged = read_results(tmp_path)
    assert len(kept) == 10 and damaged == []
    for record in kept:
        assert (tmp_path / record["file"]).stat().st_size == record["bytes"]
        assert record["bpp"] == 8 * record["bytes"] / (34 * 41)
        original, decoded = records.original(record), records.decoded(record, tmp_path)
        assert psnr(original, decoded) == record["psnr"]
        assert record["channels"] == (1 if record["name"] == "grey" else 3)


def test_what_is_done_is_skipped_and_a_lost_file_is_made_again(capsys, pictures, tmp_path):
    run(capsys, pictures, "-o", tmp_path, *CLASSICAL)
    before = (tmp_path / "results.jsonl").read_bytes()
    assert run(capsys, pictures, "-o", tmp_path, *CLASSICAL)[0] == 0
    assert (tmp_path / "results.jsonl").read_bytes() == before
    lost = tmp_path / read_results(tmp_path)[0][3]["file"]
    content = lost.read_bytes()
    lost.unlink()
    assert run(capsys, pictures, "-o", tmp_path, *CLASSICAL)[0] == 0
    assert lost.read_bytes() == content and len(read_results(tmp_path)[0]) == 10


def test_a_changed_input_is_another_job(capsys, pictures, tmp_path):
    copy = tmp_path / "a.png"
    copy.write_bytes((pictures / "colour.png").read_bytes())
    run(capsys, copy, "-o", tmp_path / "out", *CLASSICAL)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(copy)
    run(capsys, copy, "-o", tmp_path / "out", *CLASSICAL)
    assert {r["width"] for r in read_results(tmp_path / "out")[0]} == {41, 20}


def test_a_preset_is_fitted_and_its_file_decoded(capsys, pictures, tmp_path):
    arguments = ["--methods", "c3-kodak", "--lmbdas", "1e-3", "--steps", 5, "--crop", 16]
    arguments += ["--workers", 1]
    small = "latents.num_grids=2 entropy.widths=4 synthesis.widths=4 synthesis.residual_layers=0"
    shape = [word for pair in small.split() for word in ("--set", pair)]
    shape += ["--json", tmp_path / "summary.json", "--quiet"]
    code, out, err = run(capsys, pictures, "-o", tmp_path / "o", *arguments, *shape)
    assert (code, out, err) == (0, "", "")
    kept = read_results(tmp_path / "o")[0]
    assert [r["name"] for r in kept] == ["colour@16", "grey@16"]
    for record in kept:
        assert record["bits"]["networks"] > 0 and record["steps"] == 5
        assert record["macs_per_pixel"] > 0 and record["seconds_compile"] > 0
        assert (
            psnr(records.original(record), records.decoded(record, tmp_path / "o"))
            == (record["psnr"])
        )
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == json.loads((tmp_path / "o" / "summary.json").read_text())
    (curve,) = summary["curves"]
    assert curve["name"].startswith("overfit c3-kodak, 5 steps, latents.num_grids=2, ")
    assert curve["bpp"] == [np.mean([r["bpp"] for r in kept])]


def test_damaged_and_missing_inputs_are_listed_and_the_rest_is_kept(capsys, pictures, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    data = (pictures / "colour.png").read_bytes()
    (folder / "good.png").write_bytes(data)
    (folder / "cut.png").write_bytes(data[:200])
    code, _, err = run(capsys, folder, "-o", tmp_path / "o", *CLASSICAL)
    assert code == 1
    assert err.splitlines()[-1].startswith("overfit: error: 5 failures")
    assert sum(line.startswith("failed: cut, ") for line in err.splitlines()) == 5
    assert {r["name"] for r in read_results(tmp_path / "o")[0]} == {"good"}
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    assert len(summary["failures"]) == 5 and summary["averaged_over"] == ["good"]


def test_an_encoder_that_is_not_installed_fails_alone(capsys, pictures, tmp_path, monkeypatch):
    load = work.codecs.load

    def without_webp(name):
        codec = load(name)
        return codec._replace(encode=_absent) if name == "webp" else codec

    def _absent(signal, value):
        raise UserError("webp needs a package")

    monkeypatch.setattr(work.codecs, "load", without_webp)
    code, _, err = run(capsys, pictures, "-o", tmp_path, *CLASSICAL)
    assert code == 1 and "webp needs a package" in err
    assert {r["label"] for r in read_results(tmp_path)[0]} == {"jpeg"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--methods", "jpg"),
        ("--methods", "jpeg", "--ladder", "jpeg=a"),
        ("--methods", "jpeg", "--only", "nothing"),
        ("--methods", "c3-kodak", "--lmbdas", "x"),
        ("--methods", "c3-kodak", "--set", "latents.grids=3"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(capsys, pictures, tmp_path, arguments):
    code, _, err = run(capsys, pictures, "-o", tmp_path / "o", *arguments)
    assert code == 2 and err.startswith("overfit: error: ") and len(err.splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_the_curves_are_written_in_the_schema_of_compressai(capsys, pictures, tmp_path):
    run(capsys, pictures, "-o", tmp_path, *CLASSICAL)
    written = [read_curve(path) for path in sorted((tmp_path / "curves").iterdir())]
    assert [curve.name for curve in written] == ["jpeg", "webp"]
    assert [len(curve.bpp) for curve in written] == [3, 2]
    document = json.loads((tmp_path / "curves" / "jpeg.json").read_text())
    assert len(document["results"]["psnr-rgb"]) == len(document["results"]["bpp"]) == 3


def test_clips_have_a_weighted_psnr(capsys, tmp_path):
    """A 4:2:0 clip through a video codec: planes 6:1:1, each the mean over its frames."""
    pytest.importorskip("av")
    rng = np.random.default_rng(1)
    frames = [np.sort(rng.integers(0, 256, 64 * 48 * 3 // 2, np.uint8)).tobytes() for _ in "ab"]
    (tmp_path / "in").mkdir()
    header = b"YUV4MPEG2 W64 H48 F25:1 C420\n"
    (tmp_path / "in" / "clip.y4m").write_bytes(header + b"".join(b"FRAME\n" + f for f in frames))
    arguments = ["--methods", "x264-medium", "--ladder", "x264-medium=20,35", "--workers", 1]
    code, out, _ = run(capsys, f"clips:{tmp_path / 'in'}", "-o", tmp_path / "o", *arguments)
    assert code == 0 and "YUV 6:1:1" in out
    record = read_results(tmp_path / "o")[0][0]
    assert record["frames"] == 2 and record["psnr"] is None
    weighted = (6 * record["psnr_y"] + record["psnr_u"] + record["psnr_v"]) / 8
    assert record["psnr_yuv"] == pytest.approx(weighted)
    (path,) = (tmp_path / "o" / "curves").iterdir()
    curve = read_curve(path)
    assert len(curve.psnr_yuv) == 2 and curve.psnr == (None, None)
    assert curve.psnr_yuv[0] < curve.psnr_yuv[1]


def test_killed_and_started_again_it_has_every_result_once(pictures, tmp_path):
    command = [sys.executable, "-m", "overfit", "evaluate", str(pictures), "-o", str(tmp_path)]
    command += [*map(str, CLASSICAL), "--quiet"]
    index = tmp_path / "results.jsonl"
    process = subprocess.Popen(command, cwd=tmp_path)
    while not index.exists() or index.read_bytes().count(b"\n") < 2:
        assert process.poll() is None or index.read_bytes().count(b"\n") == 10
        time.sleep(0.01)
    process.kill()
    process.wait()
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    lines = index.read_text().splitlines()
    assert len(lines) == 10 == len({json.loads(line)["key"] for line in lines})


def test_the_order_of_jobs_is_codec_by_codec(pictures):
    jobs = evaluation.jobs(
        find_all([str(pictures)]), Plan(("webp", "jpeg"), ladders={"jpeg": (5.0,)})
    )
    assert [job.label for job in jobs][:1] == ["webp"] and jobs[-1].setting == {"quality": 5.0}
    assert len({job.key() for job in jobs}) == len(jobs) == len({job.file for job in jobs})
