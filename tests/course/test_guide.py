"""``dcar course guide``: every part of a page says what the lesson and its checks say."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dcar_edu.course.checks import exercise, lesson_module, run_check
from dcar_edu.course.execute import ROOT
from dcar_edu.course.guide import guide, index, page
from dcar_edu.course.outline import alts, chosen, plan, sections
from dcar_edu.course.quiz import shuffled
from dcar_edu.course.source import read_exercise, read_lesson, read_lessons

LESSONS = read_lessons(ROOT)
EACH = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.number)


@pytest.fixture
def small(root: Path):
    """The made-up lesson, with what a real one has."""
    path = root / "lessons" / "src" / "00_small_numbers.py"
    text = path.read_text(encoding="utf-8").replace(
        "# You will be able to add and to double.",
        "# - add two numbers;\n# - double one.\n#\n# **Short of time?** Section 1 only.",
    )
    text = text.replace("**What do you expect?**", "**What do you expect?** What is it?")
    path.write_text(text, encoding="utf-8")
    return read_lesson(path)


def part(text: str, heading: str) -> str:
    """What stands under one heading of a page."""
    blocks = re.split(r"^## ", text, flags=re.MULTILINE)
    return next(block for block in blocks if block.startswith(heading + "\n"))


@pytest.fixture
def text(small) -> str:
    return page(small)


def test_the_goal_and_what_a_lesson_needs(text):
    top = text.split("## ")[0]
    assert top.startswith("# 00 · Small numbers\n\n**What is built:** two functions.")
    assert "- add two numbers;\n- double one." in top
    assert "Needs: none. A CPU is enough; memory 1 GB. It writes nothing." in top


def test_the_minute_plan_ends_at_the_minutes_of_the_header(text, small):
    rows = [row for row in part(text, "Minute plan").splitlines() if row.startswith("| ")][1:]
    clock = 0
    for row in rows:
        start, end = map(int, row.split("|")[1].strip().split("-"))
        assert start == clock
        clock = end
    assert clock == small.minutes
    assert "00.1 Add (4)" in next(row for row in rows if "1. Adding" in row)
    assert "waiting (1 min on a GPU)" in rows[-2]
    assert f"{small.minutes} minutes on a CPU." in part(text, "Minute plan")


@EACH
def test_the_plan_shares_out_all_minutes_of_reading(lesson):
    shared = plan(lesson, sections(lesson))
    assert sum(minutes for _, minutes in shared) == lesson.reading
    assert min(minutes for _, minutes in shared) >= 0
    assert sum(len(section.exercises) for section, _ in shared) == len(lesson.exercises)


@EACH
def test_three_figures_with_the_section_they_stand_in(lesson):
    found = sections(lesson)
    shown = chosen(found, 3)
    assert len(shown) == 3
    assert shown[0][1] == next(alt for section in found for alt in section.figures)
    for section, alt in shown:
        assert alt in section.figures
        assert len(alt) > 30
    with_question = [section for section in found if section.experiment and section.figures]
    if with_question:
        assert (with_question[0], with_question[0].figures[-1]) in shown


def test_figures_on_the_page(text):
    assert (
        part(text, "Three figures to show")
        .strip()
        .endswith("1. *2. An experiment.* one grey pixel")
    )


def test_alt_texts_are_read_from_code():
    code = (
        '%time x\nshow(a, alt="one " "two")\nf(alt=f"{n} of {m} dogs")\ng(alt=name)\nh(b, alt="z")'
    )
    assert alts(code) == ["one two", "… of … dogs", "z"]
    assert alts("def (") == []


def test_two_questions_the_experiment_first(text):
    asked = part(text, "Two questions to ask")
    assert "**1.** What is it?\n\n> a square" in asked
    question = lesson_module("00").QUIZ[0]
    right = next(choice for choice in question.choices if choice.correct)
    assert f"**2.** {question.text}" in asked
    assert f"> {right.text} {right.explain}".splitlines()[0] in asked


def test_mistakes_with_the_message_that_a_student_reads(text):
    shown = part(text, "Common mistakes")
    assert "**00.1 Add**" in shown
    for mistake in exercise("00.1").mistakes:
        message = " ".join(run_check("00.1", mistake.fn).message.split()).replace("|", "\\|")
        assert f"| {mistake.says} | {message} |" in shown
    assert "00.2" not in shown  # the lesson does not pose it


def test_what_to_leave_out(small):
    late = part(page(small), "When you are late")
    assert "The lesson's own advice: Section 1 only." in late
    assert "Keep: 00.1 Add (4 min, importance 4/5, difficulty 1/5)." in late
    assert "Leave out" not in late
    assert "The training can run during a break" in late


def test_optional_exercises_are_left_out_first():
    lesson = next(lesson for lesson in LESSONS if lesson.number == "03")
    changes = {"03.5": "importance: 5/5", "03.4": "importance: 1/5"}
    cells = []
    for cell in lesson.cells:
        task = read_exercise(cell.source)
        change = changes.get(task.id) if task else None
        text = re.sub(r"importance: \d/5", change, cell.source, count=1) if change else cell.source
        cells.append(replace(cell, source=text))
    text = page(replace(lesson, cells=tuple(cells)))
    late = re.search(r"Leave out, in this order \((\d+) minutes\): (.*)\.", text)
    assert late
    named = re.findall(r"(\d\d\.\d)\*? ", late[2])
    assert named[:2] == ["03.5", "03.4"]
    minutes = {task.id.rstrip("*"): task.minutes for task in lesson.exercises}
    assert int(late[1]) == sum(minutes[id] for id in named)


def test_the_quiz_as_students_see_it_with_every_explanation(text):
    shown = part(text, "Quiz, with answers")
    for question in lesson_module("00").QUIZ:
        assert f"**{question.id}** {question.text}" in shown
        for letter, choice in zip("abcdefgh", shuffled(question), strict=False):
            line = next(line for line in shown.splitlines() if choice.explain in line)
            bold = "**" if choice.correct else ""
            assert line.startswith(f"- {bold}{letter}) {choice.text}")
            assert ("(right)" in line) == choice.correct


def test_the_index_links_every_page_and_adds_up(tmp_path, root, capsys):
    assert guide(tmp_path / "out", root) == 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"README.md", "00_small_numbers.md"}
    assert "1 pages and an index" in capsys.readouterr().out
    text = index(LESSONS)
    for lesson in LESSONS:
        assert f"| [{lesson.number}]({lesson.name}.md) | {lesson.front.title} |" in text
    assert f"All together {sum(lesson.minutes for lesson in LESSONS)} minutes." in text


def test_the_default_folder_is_build_guide(root):
    guide(root=root)
    assert (root / "build" / "guide" / "README.md").exists()


def test_a_lesson_without_exercises_or_quiz_has_a_page_too(small, monkeypatch):
    def none(number):
        raise ValueError("there are no exercises for this lesson")

    monkeypatch.setattr("dcar_edu.course.guide.lesson_module", none)
    text = page(small)
    assert "This lesson has no exercises." in text
    assert text.rstrip().endswith("## Quiz, with answers")
