"""``dcar course guide``: one page a lesson for whoever teaches it, built from the lesson's source.

Minutes, figures and questions come from ``lessons/src``, mistakes and the quiz from
``dcar_edu/course/lessons``; what a student sees for a mistake is what the check says now.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dcar_edu.checkpoint import write_atomically
from dcar_edu.course.checks import lesson_module, run_check
from dcar_edu.course.execute import ROOT
from dcar_edu.course.outline import Section, ask, chosen, plan, sections
from dcar_edu.course.quiz import shuffled
from dcar_edu.course.source import EXPERIMENT_MINUTES, Exercise, Lesson, read_lessons

KEEP = 4
"""Exercises of this importance and above are kept when time is short."""


def guide(out: str | Path | None = None, root: str | Path | None = None) -> int:
    """Write a page for every lesson that is there, and an index.

    Args:
        out: the folder; default ``build/guide`` in the repository.
        root: the repository; the checkout this file lies in by default.

    Returns:
        0.

    Raises:
        ValueError: there is no lesson source, as in an installed package.
    """
    root = Path(root or ROOT)
    lessons = read_lessons(root)
    folder = Path(out) if out else root / "build" / "guide"
    for lesson in lessons:
        write_atomically(folder / f"{lesson.name}.md", page(lesson).encode("utf-8"))
        print(f"{lesson.name}.md", flush=True)
    write_atomically(folder / "README.md", index(lessons).encode("utf-8"))
    print(f"{len(lessons)} pages and an index: {folder / 'README.md'}")
    return 0


def index(lessons: list[Lesson]) -> str:
    """The first page: what each lesson takes, and links."""
    rows = [
        f"| [{lesson.number}]({lesson.name}.md) | {lesson.front.title} | {lesson.minutes} | "
        f"{len(lesson.exercises)} | {lesson.front.needs} | {'yes' if lesson.front.gpu else 'no'} |"
        for lesson in lessons
    ]
    total = sum(lesson.minutes for lesson in lessons)
    parts = [
        "# Guide for instructors",
        "A page a lesson: goal, minute plan, figures to show, questions to ask, the mistakes that "
        "students make with what they are told, what to leave out when late, and the quiz with "
        "its answers. Built from the lessons by `dcar course guide`; do not edit.",
        "| lesson | title | minutes (CPU) | exercises | needs | GPU wanted |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(rows),
        f"All together {total} minutes. Before the class: see `INSTRUCTORS.md`.",
    ]
    return "\n\n".join(parts) + "\n"


def page(lesson: Lesson) -> str:
    """One lesson's page, in Markdown."""
    found = sections(lesson)
    blocks = [
        f"# {lesson.number} · {lesson.front.title}",
        _goal(lesson),
        "## Minute plan",
        _plan(lesson, found),
        "## Three figures to show",
        _figures(found, lesson),
        "## Two questions to ask",
        *_questions(lesson, found),
        "## Common mistakes",
        *_mistakes(lesson),
        "## When you are late",
        _late(lesson, found),
        "## Quiz, with answers",
        *_quiz(lesson),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _goal(lesson: Lesson) -> str:
    """What the lesson is for, what it needs, and what students can do afterwards."""
    texts = [cell.source for cell in lesson.cells if "objectives" in cell.tags]
    able = [line for text in texts for line in text.splitlines() if line.startswith("- ")]
    front = lesson.front
    facts = (
        f"Needs: {front.needs}. {'A GPU is wanted' if front.gpu else 'A CPU is enough'}; "
        f"memory {front.memory}. It writes {front.writes}."
    )
    return "\n\n".join(
        filter(None, [f"**What is built:** {front.builds}.", "\n".join(able), facts])
    )


def _plan(lesson: Lesson, found: list[Section]) -> str:
    """A table with a running clock that ends at the minutes in the lesson's header."""
    rows, clock = [], 0
    for section, reading in plan(lesson, found):
        doing = [f"{task.id} {task.title} ({task.minutes})" for task in section.exercises]
        minutes = reading + sum(task.minutes for task in section.exercises)
        rows.append(_row(f"{clock}-{clock + minutes}", section.title, reading, ", ".join(doing)))
        clock += minutes
    wait, gpu = lesson.front.wait, lesson.front.wait_gpu
    if wait:
        rows.append(_row(f"{clock}-{clock + wait}", f"waiting ({gpu} min on a GPU)", "", ""))
        clock += wait
    end = clock + EXPERIMENT_MINUTES
    rows.append(_row(f"{clock}-{end}", "experiment, quiz and talk", "", ""))
    head = "| clock | section | read | exercises (min) |\n|---|---|---|---|\n"
    note = "Start what trains before you talk about it: the waiting then costs nothing."
    return head + "\n".join(rows) + f"\n\n{end} minutes on a CPU. {note if wait else ''}".rstrip()


def _figures(found: list[Section], lesson: Lesson) -> str:
    """Up to three figures: where they stand, and what is seen in them."""
    rows = [
        f"{place}. *{section.title}.* {alt}"
        for place, (section, alt) in enumerate(chosen(found, 3), start=1)
    ]
    return "\n".join(rows) or f"Lesson {lesson.number} has no figure of its own."


def _questions(lesson: Lesson, found: list[Section]) -> Iterator[str]:
    """Two questions: those before experiments first, then from the quiz."""
    asked = [(question, answer) for section in found for question, answer in section.questions]
    for question in _asked(lesson):
        right = next(choice for choice in question.choices if choice.correct)
        asked.append((question.text, f"{right.text} {right.explain}"))
    for place, (question, answer) in enumerate(asked[:2], start=1):
        yield f"**{place}.** {question}"
        yield "\n".join(f"> {line}".rstrip() for line in answer.splitlines())


def _asked(lesson: Lesson) -> Iterable:
    try:
        return lesson_module(lesson.number).QUIZ
    except ValueError:
        return ()


def _mistakes(lesson: Lesson) -> Iterator[str]:
    """For each exercise the planted wrong answers, and what the check says to each."""
    try:
        known = {task.id: task for task in lesson_module(lesson.number).EXERCISES}
    except ValueError:
        known = {}
    for task in lesson.exercises:
        id = task.id.rstrip("*")
        if id not in known:
            continue
        rows = [
            _row(mistake.says, run_check(id, mistake.fn).message) for mistake in known[id].mistakes
        ]
        yield f"**{id} {task.title}**"
        yield "| what goes wrong | what the student reads |\n|---|---|\n" + "\n".join(rows)
    if not known:
        yield "This lesson has no exercises."


def _late(lesson: Lesson, found: list[Section]) -> str:
    """What to leave out: the lesson's own advice, and the exercises that matter least."""
    lines = [ask(cell.source, "Short of time?") for cell in lesson.cells]
    said = [f"The lesson's own advice: {line}" for line in lines if line]
    tasks = sorted(lesson.exercises, key=lambda task: (not _optional(task), task.importance))
    skip = [task for task in tasks if _optional(task) or task.importance < KEEP]
    if skip:
        saved = sum(task.minutes for task in skip)
        said.append(f"Leave out, in this order ({saved} minutes): {_tasks(skip)}.")
    keep = [task for task in lesson.exercises if task not in skip]
    if keep:
        said.append(f"Keep: {_tasks(keep)}.")
    if lesson.front.wait:
        said.append("The training can run during a break; its cell goes on when it is run again.")
    return "\n\n".join(said)


def _optional(task: Exercise) -> bool:
    return task.id.endswith("*") or "(optional)" in task.title


def _tasks(tasks: Iterable[Exercise]) -> str:
    return "; ".join(
        f"{task.id} {task.title} ({task.minutes} min, importance {task.importance}/5, "
        f"difficulty {task.difficulty}/5)"
        for task in tasks
    )


def _quiz(lesson: Lesson) -> Iterator[str]:
    """Every question with its choices in the order that students see."""
    for question in _asked(lesson):
        yield f"**{question.id}** {question.text}"
        yield "\n".join(
            f"- **{letter}) {_ended(choice.text)}** (right) {choice.explain}"
            if choice.correct
            else f"- {letter}) {_ended(choice.text)} {choice.explain}"
            for letter, choice in zip("abcdefgh", shuffled(question), strict=False)
        )


def _ended(text: str) -> str:
    """A sentence with its full stop."""
    return text if text[-1:] in ".?!" else f"{text}."


def _row(*cells: object) -> str:
    """One line of a table; what would end a cell or a line is taken out."""
    texts = (re.sub(r"\s+", " ", str(cell)).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"
