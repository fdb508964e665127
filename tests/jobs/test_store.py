"""The store of results: nothing lost by a kill, nothing doubled, one writer."""

import multiprocessing

import pytest

from overfit.errors import UserError
from overfit.jobs.store import RESULTS, open_store, read_results


def test_results_are_on_disk_as_soon_as_they_are_appended(tmp_path):
    with open_store(tmp_path / "new") as store:
        store.append({"key": "a", "psnr": 30.5, "name": "Müller"})
        records, damaged = read_results(tmp_path / "new")
    assert records == [{"key": "a", "psnr": 30.5, "name": "Müller"}] and damaged == []


def test_half_a_line_of_a_killed_run_is_cut_off(tmp_path):
    with open_store(tmp_path) as store:
        store.append({"key": "a"})
    with open(tmp_path / RESULTS, "ab") as file:
        file.write(b'{"key": "b", "psn')
    assert [r["key"] for r in read_results(tmp_path)[0]] == ["a"]
    with open_store(tmp_path) as store:
        assert list(store.done) == ["a"]
        store.append({"key": "c"})
    records, damaged = read_results(tmp_path)
    assert [r["key"] for r in records] == ["a", "c"] and damaged == []


@pytest.mark.parametrize("line", ["no json", "[1]", "{}", "7", '{"key": []}', "\udcff"])
def test_damaged_lines_are_named_and_the_rest_is_read(tmp_path, line):
    text = '{"key": "a"}\n' + line + '\n{"key": "b"}\n'
    (tmp_path / RESULTS).write_bytes(text.encode("utf-8", "surrogateescape"))
    records, damaged = read_results(tmp_path)
    assert [r["key"] for r in records] == ["a", "b"]
    assert len(damaged) == 1 and "line 2" in damaged[0]


def test_a_later_result_replaces_an_earlier_one(tmp_path):
    with open_store(tmp_path) as store:
        store.append({"key": "a", "psnr": 1.0})
        store.append({"key": "b", "psnr": 2.0})
        store.append({"key": "a", "psnr": 3.0})
    assert [(r["key"], r["psnr"]) for r in read_results(tmp_path)[0]] == [("b", 2.0), ("a", 3.0)]


def _append(folder, queue):
    try:
        with open_store(folder) as store:
            store.append({"key": "other"})
        queue.put("done")
    except UserError as error:
        queue.put(str(error))


def test_a_second_writer_is_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with open_store(tmp_path):
        process = context.Process(target=_append, args=(tmp_path, queue))
        process.start()
        assert "another run" in queue.get(timeout=60)
        process.join()
    assert read_results(tmp_path)[0] == []


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"), open_store(tmp_path / "file" / "sub"):
        pass
    with pytest.raises(UserError, match=RESULTS):
        read_results(tmp_path / "none")
