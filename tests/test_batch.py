"""`overfit batch`: many images, one file each."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_model import SMALL, words

import overfit
from overfit.cli import main

SET = words(SMALL)


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
    arguments += ["--events", str(tmp_path / "events.jsonl"), "--tensorboard", str(tmp_path / "tb")]
    assert main(["batch", *arguments]) == 1
    out, err = capsys.readouterr()
    assert "2 files" in out and "failed: c, " in err
    assert err.splitlines()[-1].startswith("overfit: error: one failure")
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["files"] == 2 and [f["name"] for f in about["failures"]] == ["c"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == about
    check_events(tmp_path / "events.jsonl", about)
    check_scalars(tmp_path / "tb", about)
    for record in about["results"]:
        image = np.asarray(Image.open(record["input"]))
        data = (tmp_path / "out" / record["file"]).read_bytes()
        assert data == overfit.encode(image, set=SMALL, steps=20)
        assert record["file"] == f"{record['name']}.ovf" and record["bytes"] == len(data)
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    (pictures / "c.png").unlink()
    assert main(["batch", *arguments]) == 0
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


def check_events(path, about):
    """What happened to each picture, in order."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [e["ended"] for e in events] == sorted(e["ended"] for e in events)
    assert events[-1]["ended"] == events[-1]["count"] == 3
    for record in about["results"]:
        kinds = [e["event"] for e in events if e["name"] == record["name"]]
        assert kinds[0] == "begin" and kinds[-1] == "done" and set(kinds[1:-1]) == {"step"}
        (done,) = (e for e in events if e["name"] == record["name"] and e["event"] == "done")
        assert all(done[key] == record[key] for key in ("file", "bytes", "bpp", "psnr"))
        steps = [e for e in events if e["name"] == record["name"] and e["event"] == "step"]
        assert steps[-1]["step"] == steps[-1]["total"] == 22 and steps[-1]["loss"] > 0
    (failed,) = (e for e in events if e["event"] == "failed")
    assert failed["name"] == "c" and failed["error"] == about["failures"][0]["error"]


def check_scalars(folder, about):
    """As TensorBoard reads them: length, its checksum, event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for record in about["results"]:
        (path,) = (folder / record["name"].replace("/", "_")).rglob("events*")
        data, found = path.read_bytes(), {}
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
            data = data[16 + length :]
        assert found["loss"][0] == 22
        assert found["file/bpp"] == (20, pytest.approx(record["bpp"]))
        assert found["file/psnr"] == (20, pytest.approx(record["psnr"]))


def test_a_disk_without_room_fails_the_jobs_that_need_it(tmp_path, picture):
    """Files of more than 64 kB cannot be written here: those of a larger picture's fit."""
    (tmp_path / "in").mkdir()
    for name, shape in {"small": (16, 16), "large": (96, 96)}.items():
        Image.fromarray(picture(*shape)).save(tmp_path / "in" / f"{name}.png")
    command = [sys.executable, "-m", "overfit", "batch", str(tmp_path / "in"), "--workers", "1"]
    command += ["-o", str(tmp_path / "out"), "--steps", "20", *SET]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "0"}
    limit = ("import resource, runpy, sys; sys.argv = sys.argv[1:]; "
             "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY)); "
             "runpy.run_module('overfit', run_name='__main__', alter_sys=True)")  # fmt: skip
    limited = [sys.executable, "-c", limit, *command[2:]]
    ended = subprocess.run(limited, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert "failed: large, " in ended.stderr and "File too large" in ended.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [record["name"] for record in summary["results"]] == ["small"]
    assert "free some space" in summary["failures"][0]["error"]
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert subprocess.run(command, env=environment).returncode == 0  # there is room now
    assert (tmp_path / "out" / "large.ovf").exists()


@pytest.mark.parametrize(
    "arguments", [["--steps", "0"], ["--preset", "c4"], ["--target-bpp", "0"], ["--set", "x=1"]]
)
def test_bad_options_are_refused_at_once(pictures, tmp_path, capsys, arguments):
    assert main(["batch", str(pictures), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert not (tmp_path / "out").exists()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_clip_gets_the_preset_of_clips(tmp_path, picture):
    for t in range(2):
        path = tmp_path / "clips" / "still" / f"{t}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(16, 16)).save(path)
    changes = SMALL | {"entropy.frame": 1}
    command = ["batch", f"clips:{tmp_path / 'clips'}", "-o", str(tmp_path / "out"), *words(changes)]
    command += ["--steps", "20", "--workers", "1", "--json", str(tmp_path / "about.json")]
    assert main(command) == 0
    (record,) = json.loads((tmp_path / "about.json").read_text())["results"]
    assert record["preset"] == "c3-uvg-shared"
    assert overfit.info((tmp_path / "out" / record["file"]).read_bytes())["frames"] == 2
