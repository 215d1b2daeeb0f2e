import json
from pathlib import Path

import pytest

from dcar_edu.course.docs import build_site, main, title


def notebook(folder: Path, name: str, *sources: tuple[str, str]) -> Path:
    cells = [
        {"cell_type": kind, "id": f"c{number}", "metadata": {}, "source": source}
        | ({"execution_count": 1, "outputs": [output(source)]} if kind == "code" else {})
        for number, (kind, source) in enumerate(sources)
    ]
    path = folder / f"{name}.ipynb"
    path.write_text(
        json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


def output(source: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": f"said {source}\n"}


def test_the_site_holds_every_lesson_with_its_output_and_the_api(tmp_path):
    first = notebook(tmp_path, "00_a", ("markdown", "# 00 - Start <here>"), ("code", "first"))
    second = notebook(tmp_path, "01_b", ("markdown", "no heading"), ("code", "second"))
    index = build_site([first, second], tmp_path / "site")
    text = index.read_text()
    assert text.index("00 - Start &lt;here&gt;") < text.index("01_b")
    assert "said first" in (tmp_path / "site/lessons/00_a.html").read_text()
    assert "said second" in (tmp_path / "site/lessons/01_b.html").read_text()
    assert "write_atomically" in (tmp_path / "site/api/dcar_edu/checkpoint.html").read_text()


def test_no_notebook_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no executed notebook found"):
        build_site([], tmp_path)


def test_main_says_the_error_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dcar_edu.__file__", str(tmp_path / "dcar_edu" / "__init__.py"))
    assert main(str(tmp_path / "site")) == 1
    assert capsys.readouterr().err.startswith("docs: error: no executed notebook")


def test_the_title_is_the_first_heading(tmp_path):
    path = notebook(tmp_path, "02_c", ("markdown", "text\n# 02 - Real\n# later"))
    assert title(path) == "02 - Real"
