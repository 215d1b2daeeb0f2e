"""One module a lesson: its exercises with planted mistakes, its quiz and its terms."""
