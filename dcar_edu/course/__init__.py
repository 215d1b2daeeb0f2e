"""What the lesson notebooks call: ``from dcar_edu import course``."""

from dcar_edu.course import figures
from dcar_edu.course.checks import check, show_input
from dcar_edu.course.compare import expect_error, same_as_library
from dcar_edu.course.glossary import glossary
from dcar_edu.course.hints import hint, show_solution
from dcar_edu.course.lesson import start
from dcar_edu.course.overview import course_map
from dcar_edu.course.quiz import answer, quiz
from dcar_edu.course.stages import save_stage, stage
from dcar_edu.course.widgets import explore

__all__ = [
    "answer",
    "check",
    "course_map",
    "expect_error",
    "explore",
    "figures",
    "glossary",
    "hint",
    "quiz",
    "same_as_library",
    "save_stage",
    "show_input",
    "show_solution",
    "stage",
    "start",
]
