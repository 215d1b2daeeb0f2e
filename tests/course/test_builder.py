"""The builder: one source, two notebooks, the same bytes every time."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcar_edu.course.builder import build
from dcar_edu.course.execute import (
    _fitted,
    clean_outputs,
    commit,
    execute_solution,
    to_bytes,
)
from dcar_edu.course.source import choose, count_words, read_lessons, student_text

NAME = "00_small_numbers.ipynb"


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def code(path: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in load(path)["cells"])


def change(root: Path, old: str, new: str) -> None:
    path = root / "lessons" / "src" / "00_small_numbers.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_student_view_has_a_place_to_fill_in_and_the_solution_has_no_markers(root: Path):
    assert build(root=root) == 0
    student, solution = code(root / "lessons" / NAME), code(root / "solutions" / NAME)
    assert '    # YOUR CODE HERE\n    raise NotImplementedError("00.1")' in student
    assert "return total" not in student
    assert "    total = x + y\n    return total" in solution
    assert "SOLUTION" not in student + solution


def test_the_stub_keeps_the_indent_and_what_follows():
    source = (
        "def f(x):\n    if x:\n        # BEGIN SOLUTION\n"
        "        x = 1\n\n        # END SOLUTION\n    a"
    )
    wanted = (
        "def f(x):\n    if x:\n        # YOUR CODE HERE\n"
        '        raise NotImplementedError("09.2")\n    a'
    )
    assert student_text(source, "09.2") == wanted


def test_rebuilding_gives_the_same_bytes_and_hashed_ids(root: Path):
    build(root=root)
    before = [(root / view / NAME).read_bytes() for view in ("lessons", "solutions")]
    for view in ("lessons", "solutions"):
        (root / view / NAME).unlink()
    build(root=root)
    assert before == [(root / view / NAME).read_bytes() for view in ("lessons", "solutions")]
    assert before[0].endswith(b"}\n")
    student = load(root / "lessons" / NAME)
    assert student["cells"][0]["id"] == "6a2eda61"  # sha1 of "00:0"
    assert student["metadata"]["kernelspec"]["name"] == "python3"
    form = next(c for c in student["cells"] if "setup" in c["metadata"].get("tags", []))
    assert form["metadata"] == {"cellView": "form", "tags": ["setup"]}


def test_header_says_minutes_and_links_both_ways(root: Path, source: str):
    second = source.replace('"00"', '"01"').replace("00.1", "01.1")
    second = second.replace("Small numbers", "Larger numbers").replace("gpu: false", "gpu: true")
    (root / "lessons" / "src" / "01_larger_numbers.py").write_text(second, encoding="utf-8")
    assert build(root=root) == 0
    first, after = load(root / "lessons" / NAME), load(root / "lessons/01_larger_numbers.ipynb")
    head = "".join(first["cells"][0]["source"])
    # 1 minute for 60 words, 1 for the figure, 4 for the exercise, 2 waiting, 15 for the rest
    assert "about 23 minutes on a CPU, 22 on a GPU: read 2, exercises 4, wait 2 (GPU 1)" in head
    assert "[Next: Larger numbers](01_larger_numbers.ipynb)" in head
    assert "Previous" not in head
    assert "[Previous: Small numbers](00_small_numbers.ipynb)" in "".join(
        after["cells"][0]["source"]
    )
    assert "blob/v0.1.0/lessons/00_small_numbers.ipynb" in head
    assert after["metadata"]["accelerator"] == "GPU"
    assert after["metadata"]["colab"]["gpuType"] == "T4"
    assert "accelerator" not in first["metadata"]


def test_every_exercise_gets_a_link_to_its_solution(root: Path):
    build(root=root)
    assert f'[Solution](../solutions/{NAME}), or run `show_solution("00.1")`' in code(
        root / "lessons" / NAME
    )


def test_outputs_are_kept_while_the_code_stays_and_dropped_when_it_changes(
    executed: Path, capsys: pytest.CaptureFixture
):
    path = executed / "solutions" / NAME
    stamp = load(path)["metadata"]["dcar_edu"]
    assert stamp["budget"] == "smoke"
    assert set(stamp) == {"budget", "commit", "device", "seconds", "source", "versions"}
    change(executed, "You will be able to add", "You will learn to add")
    assert build(root=executed) == 0
    assert "learn to add" in code(path)
    assert load(path)["metadata"]["dcar_edu"] == stamp
    assert "total 3" in json.dumps(load(path))
    assert build(check=True, root=executed) == 0

    change(executed, "total = 1 + 2", "total = 1 + 3")
    assert build(check=True, root=executed) == 1
    capsys.readouterr()
    assert build(root=executed) == 0
    assert "dcar course build --execute 00" in capsys.readouterr().out
    assert not any(cell.get("outputs") for cell in load(path)["cells"])
    assert "dcar_edu" not in load(path)["metadata"]
    assert build(check=True, root=executed) == 1
    assert "has no outputs for its code" in capsys.readouterr().out


def test_an_execution_that_fails_leaves_the_file_and_names_the_cell(
    executed: Path, capsys: pytest.CaptureFixture
):
    change(executed, "total = 1 + 2", "total = 1 / 0")
    build(root=executed)
    before = (executed / "solutions" / NAME).read_bytes()
    assert build(root=executed, execute="00", budget="smoke") == 1
    said = capsys.readouterr().out
    assert "cell 8 (id c12899e5)" in said
    assert "ZeroDivisionError" in said
    assert (executed / "solutions" / NAME).read_bytes() == before


def test_a_solution_too_large_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch):
    build(root=root)
    monkeypatch.setattr("dcar_edu.course.execute.MAX_BYTES", 4_000)
    monkeypatch.setattr("nbclient.NotebookClient.execute", lambda client: client.nb)
    with pytest.raises(ValueError, match="MB even with 256-colour pictures"):
        execute_solution(root / "solutions" / NAME, root, "smoke")


def png(colours: int) -> str:
    generator = np.random.default_rng(colours)
    flat = generator.integers(0, 256, (colours, 3), dtype=np.uint8)
    pixels = flat[generator.integers(0, colours, (60, 80))]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode() + "\n"


def test_only_as_many_pictures_as_needed_lose_colours_the_plainest_first(
    monkeypatch: pytest.MonkeyPatch,
):
    rich, plain = png(4000), png(300)
    cells = [{"outputs": [{"data": {"image/png": one}}]} for one in (rich, plain)]
    notebook = {"cells": cells, "metadata": {}}
    whole = to_bytes(notebook)
    monkeypatch.setattr("dcar_edu.course.execute.MAX_BYTES", len(whole))
    assert _fitted(notebook, "a.ipynb") == whole
    monkeypatch.setattr("dcar_edu.course.execute.MAX_BYTES", len(whole) - 1)
    fitted = json.loads(_fitted(notebook, "a.ipynb"))
    stored = [cell["outputs"][0]["data"]["image/png"] for cell in fitted["cells"]]
    assert stored[0] == rich
    assert len(stored[1]) < len(plain)
    reduced = Image.open(io.BytesIO(base64.b64decode(stored[1]))).convert("RGB")
    assert len(reduced.getcolors(80 * 60)) <= 256


def test_widgets_timings_and_empty_outputs_are_dropped():
    view = "application/vnd.jupyter.widget-view+json"
    cell = {
        "cell_type": "code",
        "source": "a\nb",
        "metadata": {"execution": {}, "tags": ["x"]},
        "outputs": [{"data": {view: 1}}, {"data": {view: 1, "text/plain": "w"}}, {"text": "t"}],
    }
    notebook = {"metadata": {"widgets": {}}, "cells": [cell]}
    clean_outputs(notebook)
    assert cell["outputs"] == [{"data": {"text/plain": "w"}}, {"text": "t"}]
    assert cell["metadata"] == {"tags": ["x"]}
    assert cell["source"] == ["a\n", "b"]
    assert notebook["metadata"] == {}


def test_commit_of_something_that_is_no_checkout(tmp_path: Path):
    assert commit(tmp_path) == "unknown"


def test_a_notebook_without_a_source_is_reported_then_removed(
    root: Path, capsys: pytest.CaptureFixture
):
    build(root=root)
    (root / "lessons" / "07_old.ipynb").write_text("{}")
    assert build(check=True, root=root) == 1
    assert "lessons/07_old.ipynb has no source" in capsys.readouterr().out
    build(root=root)
    assert not (root / "lessons" / "07_old.ipynb").exists()


def test_a_source_that_breaks_a_rule_builds_nothing(root: Path, capsys: pytest.CaptureFixture):
    change(root, "figures: 1", "figures: 70")
    assert build(root=root) == 1
    assert "takes 92 minutes; at most 90" in capsys.readouterr().out
    assert not (root / "lessons" / NAME).exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# wait: 2\n", "", r"unknown \[\], missing \['wait'\]"),
        ("# wait: 2\n", "# wait: two\n", "'wait' is a whole number, got 'two'"),
        ("# gpu: false\n", "# gpu: no\n", "'gpu' is true or false, got 'no'"),
        ("# writes: nothing\n", "# writes: nothing\n# colour: red\n", r"unknown \['colour'\]"),
        ('tags=["header"]', "", "first cell must be a markdown cell tagged 'header'"),
    ],
)
def test_front_matter_that_cannot_be_read(root: Path, old: str, new: str, said: str):
    change(root, old, new)
    with pytest.raises(ValueError, match=said):
        build(root=root)


def test_sources_are_named_and_numbered(root: Path, source: str):
    folder = root / "lessons" / "src"
    (folder / "00_again.py").write_text(source, encoding="utf-8")
    with pytest.raises(ValueError, match="its own number, got 00 twice"):
        build(root=root)
    (folder / "00_again.py").rename(folder / "Start.py")
    with pytest.raises(ValueError, match=r"named NN_slug\.py in lower case, got 'Start\.py'"):
        build(root=root)


def test_no_lesson_and_no_such_lesson(root: Path, tmp_path_factory: pytest.TempPathFactory):
    with pytest.raises(ValueError, match="no lesson found in lessons/src"):
        build(root=tmp_path_factory.mktemp("empty"))
    with pytest.raises(ValueError, match="no lesson 04, 07: choose among 00"):
        choose(read_lessons(root), "04 00 07")
    assert [lesson.number for lesson in choose(read_lessons(root), "")] == ["00"]


def test_a_missing_library_says_how_to_get_it(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "jupytext", None)
    with pytest.raises(
        RuntimeError, match=r"jupytext is missing: pip install 'dcar_edu\[course\]'"
    ):
        build(root=root)


def test_words_leave_out_hints_formulas_and_addresses():
    text = "One two <details>no no</details> $$no$$ [three](no/no.md) `four`."
    assert count_words(text) == 4
