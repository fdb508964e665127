"""JSON files."""

import json

from overfit.io.json_file import finite


def test_json_has_no_infinity():
    value = {"psnr": float("inf"), "all": [1.0, float("nan")], "n": 3, "bits": {"x": -float("inf")}}
    assert finite(value) == {"psnr": None, "all": [1.0, None], "n": 3, "bits": {"x": None}}
    json.dumps(finite(value), allow_nan=False)
