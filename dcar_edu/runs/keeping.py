"""What a run leaves on disk to go on from: `run.json`, the last two states, the finished model.

Each is written beside its place and moved there, so a kill at any moment leaves the old or the
new, never half.
"""

import contextlib
import errno
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcar_edu import checkpoint
from dcar_edu.runs.plans import Run
from dcar_edu.state import TrainingState
from dcar_edu.team import Team

KEPT = 2
"""States kept: one to go on from, and the one before it in case that file is damaged."""


@dataclass(frozen=True)
class Settled:
    """What is fixed when a run begins, beside its plan: how long it is, and fingerprints."""

    steps: int
    data: str
    tokenizer: str | None = None
    """In a generator's run."""
    start: str | None = None
    """The model that a generator's run goes on from."""


NAMES = {
    "data": "the pictures: files were added, changed or removed",
    "tokenizer": "the tokenizer",
    "start": "the model to begin from",
}
"""What a changed fingerprint means."""


def settle(
    out: Path, plan: Run, began_with: dict[str, str], count: Callable[[], int], team: Team
) -> Settled:
    """Fix what a run does, or read what was fixed and check that it still holds.

    Args:
        out: the run's folder.
        plan: what is asked for now.
        began_with: the fingerprints of :class:`Settled`, as things are now.
        count: finds the number of steps; called at the beginning of a run only.
        team: the processes that share the run.

    Raises:
        ValueError: `out` holds a run of another plan (the message names the fields), or the
            pictures, the tokenizer or the first model have changed since.
    """
    path = out / "run.json"
    if team.agree(not path.is_file()):
        settled = Settled(count(), **began_with)
        content = {"run": type(plan).__name__, "plan": checkpoint.to_dict(plan), **asdict(settled)}
        if team.is_first:
            checkpoint.write_atomically(path, json.dumps(content, indent=1).encode())
        return settled
    content = _read(path)
    _same_plan(path, content, plan)
    fixed = {name: value for name, value in content.items() if name not in ("run", "plan")}
    kept = checkpoint.from_dict(Settled, fixed, path.name)
    for name, before in asdict(kept).items():
        if name != "steps" and before != began_with.get(name):
            raise ValueError(
                f"since the run in '{out}' began, this has changed: {NAMES[name]} (fingerprint "
                f"{began_with.get(name)}, it was {before}). Put it back as it was, or train into "
                "another folder."
            )
    return kept


def read_plan(path: str | os.PathLike, kind: type[Run]) -> Any:
    """Read the plan of a `run.json`, or a file that holds the plan alone.

    Raises:
        ValueError: no such file, another kind of run, or keys that do not fit.
    """
    content = _read(Path(path))
    if content.get("run", kind.__name__) != kind.__name__:
        raise ValueError(f"'{path}' holds a {content['run']}, not a {kind.__name__}.")
    return checkpoint.from_dict(kind, content.get("plan", content), Path(path).name)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no plan")
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the plan '{path}': {error}.") from error
    return content


def _same_plan(path: Path, content: dict[str, Any], plan: Run) -> None:
    kind = content.get("run")
    if kind != type(plan).__name__:
        raise ValueError(
            f"'{path.parent}' holds a {kind}, and this is a {type(plan).__name__}. "
            "Train into another folder."
        )
    before, now = (dict(_flat(v)) for v in (content.get("plan"), checkpoint.to_dict(plan)))
    changed = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise ValueError(
            f"'{path.parent}' holds a run of another plan: {'; '.join(changed)}. Give the plan it "
            "began with to go on, or train into another folder."
        )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of nested JSON with its dotted name."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from _flat(inner, f"{name}.{key}".lstrip("."))
    else:
        yield name, value


class Keeper:
    """The states of a run, in ``OUT/states/STEP``: the last two.

    Args:
        out: the run's folder.
        team: the processes that share the run; the first one writes.
    """

    def __init__(self, out: Path, team: Team):
        self.folder, self.team = out / "states", team
        self.last: int | None = None
        self._damaged: list[int] = []

    def steps(self) -> list[int]:
        """The steps of the states there are, oldest first."""
        return sorted(int(p.name) for p in self.folder.glob("*") if p.name.isdecimal())

    def save(self, state: TrainingState, position: dict[str, Any]) -> None:
        """Keep the state and where the data streams are; older states than the last two go.

        Raises:
            OSError: the disk is full; the states before this one are still there.
        """
        if state.step == self.last:
            return
        new, place = self.folder / ".new", self.folder / str(state.step)
        if self.team.is_first:
            shutil.rmtree(new, ignore_errors=True)  # what a kill left half done
        try:
            state.save(new)
            if self.team.is_first:
                text = json.dumps(position).encode()
                checkpoint.write_atomically(new / "position.json", text)
                shutil.rmtree(place, ignore_errors=True)
                os.replace(new, place)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            raise
        self.last = state.step
        if self.team.is_first:
            damaged = [step for step in self._damaged if step != state.step]
            kept = [step for step in self.steps() if step not in damaged]
            for old in [*kept[:-KEPT], *damaged]:
                shutil.rmtree(self.folder / str(old), ignore_errors=True)
        self._damaged = []

    def load(self, state: TrainingState) -> dict[str, Any] | None:
        """Go on from the newest state that is whole; None when there is none yet.

        Raises:
            ValueError: there are states, and every one is damaged.
        """
        problems: list[str] = []
        for step in reversed(self.steps()):
            folder = self.folder / str(step)
            try:
                if not state.load(folder):
                    raise ValueError(f"'{folder}' holds no state")
                position = json.loads((folder / "position.json").read_text())
            except (OSError, ValueError) as error:
                problems.append(f"{error}")
                self._damaged.append(step)
                self.team.say(f"the state of step {step} is damaged; trying the one before it")
                continue
            self.last = step
            return position
        if problems:
            raise ValueError(
                f"no state in '{self.folder}' can be read ({'; '.join(problems)}). "
                "Delete that folder to begin again."
            )
        return None


def write_model(out: Path, team: Team, write: Callable[[Path], object]) -> Path:
    """Write the finished model to ``OUT/model``, whole or not at all."""
    place, new = out / "model", out / ".model"
    if team.is_first:
        shutil.rmtree(new, ignore_errors=True)
        write(new)
        os.replace(new, place)
    team.say(f"finished: {place}")
    return place


def finished(out: Path, team: Team) -> bool:
    """Whether the model of a run was written; says so."""
    there = team.agree((out / "model").is_dir())
    if there:
        team.say(f"finished before: {out / 'model'}")
    return there


@contextlib.contextmanager
def hold(out: Path, team: Team) -> Iterator[None]:
    """Hold a run's folder, so that no second process trains into it at the same time.

    The system lets go of it when the process ends, however it ends.

    Raises:
        ValueError: another process holds it.
    """
    if not team.is_first or importlib.util.find_spec("fcntl") is None:  # none on Windows
        yield
        return
    import fcntl

    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"another process is training into '{out}'. Wait for it or stop it, or train into "
                "another folder."
            ) from error
        yield


@contextlib.contextmanager
def room_on_disk(keeper: Keeper | None = None) -> Iterator[None]:
    """Turn a full disk into one clear message; with a keeper, it names the state that is safe.

    Raises:
        ValueError: the disk is full; says which state is safe.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        safe = "what was saved before is safe"
        if keeper and keeper.last:
            safe = f"the state of step {keeper.last} is safe in '{keeper.folder}'"
        raise ValueError(
            f"the disk is full ({error}); {safe}. Make room, and give the same command again."
        ) from error
