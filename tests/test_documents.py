"""What the documents show works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def test_the_method_of_the_document_makes_a_file(tmp_path):
    pytest.importorskip("skimage")
    if not DOCS.is_dir():
        pytest.skip("the documents are not here")
    text = (DOCS / "add_a_method.md").read_text()
    toy, use = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "toy.py").write_text(toy)
    (tmp_path / "use.py").write_text(use)
    command = [sys.executable, "use.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert 1500 < int(re.search(r"'bytes': (\d+)", ended.stdout)[1]) < 2500
