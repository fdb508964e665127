"""A bounded sample of experiments/fuzz_decode.py: damaged files end in an error or an image."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "experiments" / "fuzz_decode.py"


def test_damaged_files_end_soon_in_an_error_or_an_image():
    spec = importlib.util.spec_from_file_location("fuzz_decode", SCRIPT)
    assert spec is not None and spec.loader is not None
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    worker = fuzz.Worker()
    try:
        answers = [(kind, worker.decode(data)) for kind, data in fuzz.mutations(120, seed=1)]
    finally:
        worker.close()
    assert [pair for pair in answers if fuzz.is_failure(pair[1])] == []
    # Both ends are reached, so that the mutations are neither harmless nor all caught at the door.
    assert {answer["outcome"] for _, answer in answers} == {"image", "refused"}
