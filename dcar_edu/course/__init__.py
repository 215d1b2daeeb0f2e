"""What the lesson notebooks call: ``from dcar_edu import course``."""

from dcar_edu.course.checks import check, show_input
from dcar_edu.course.compare import expect_error, same_as_library
from dcar_edu.course.hints import hint, show_solution
from dcar_edu.course.quiz import answer, quiz

__all__ = [
    "answer",
    "check",
    "expect_error",
    "hint",
    "quiz",
    "same_as_library",
    "show_input",
    "show_solution",
]
