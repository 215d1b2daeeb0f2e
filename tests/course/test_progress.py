"""Progress files: merged, forgiving, shown as a table."""

from pathlib import Path

import pytest

from dcar_edu.course.progress import progress_file, read_progress, record, status


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path))


def test_nothing_begun():
    assert "No lesson begun yet" in status()
    assert read_progress("00") == {}


def test_changes_are_merged_one_level_deep_and_shown():
    record("00", exercises={"00.1": "PASS", "00.2": "TODO"}, quiz={"00.q1": True})
    record("00", exercises={"00.2": "FAIL"}, seconds=130, finished=True)
    record("03", exercises={"03.1": "PASS"})
    assert read_progress("00")["exercises"] == {"00.1": "PASS", "00.2": "FAIL"}
    lines = status().splitlines()
    assert lines[0].split("  ")[0] == "lesson"
    assert lines[1].split() == ["00", "1", "of", "2", "1", "of", "1", "2", "yes"]
    assert lines[2].split() == ["03", "1", "of", "1", "-", "-", "no"]


@pytest.mark.parametrize("text", ["{half", "[1, 2]", ""])
def test_a_broken_file_counts_as_empty(text: str):
    record("00", seconds=1)
    progress_file("00").write_text(text)
    assert read_progress("00") == {}
    record("00", seconds=2)
    assert read_progress("00") == {"seconds": 2}
