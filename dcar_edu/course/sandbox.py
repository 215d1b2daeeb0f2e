"""Run one answer in a process of its own: limited time and memory, no files, no network.

Meant for mistakes, not for attackers: an endless loop, ``sys.exit``, megabytes of output, a file
written by accident. Linux and macOS.
"""

import contextlib
import ctypes
import io
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from dcar_edu.course.checks import Result, exercise, run_check


@dataclass(frozen=True)
class Limits:
    """What one answer may use."""

    seconds: float = 10
    """Of processor time; three times as much on the clock, so that sleeping ends too."""
    megabytes: int = 2048
    """Of memory, beyond what Python and torch take."""
    output: int = 65_536
    """Characters it may print."""


@dataclass(frozen=True)
class Answer:
    """A student's function as text: imports, what it needs, and its name."""

    name: str
    code: str
    imports: tuple[str, ...] = ()


def attempt(id: str, answer: Answer, seed: int, limits: Limits) -> Result:
    """Check one answer on inputs drawn from ``seed``; whatever it does, a result comes back."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dcar_edu.course.sandbox"])
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(
            target=_work, args=(theirs, id, answer, seed, limits, folder), daemon=True
        )
        process.start()
        theirs.close()
        late = f"took longer than {limits.seconds:g} s"
        try:
            if ours.poll(3 * limits.seconds + 30):
                status, message = json.loads(ours.recv_bytes())
                return Result(status, _steady(message))
            return Result("FAIL", late)
        except EOFError:
            process.join()
            code = process.exitcode or 0
            if -code in (signal.SIGXCPU, signal.SIGKILL, signal.SIGALRM):
                return Result("FAIL", late)
            how = f"by {signal.Signals(-code).name}" if code < 0 else "itself"
            return Result("FAIL", f"ended the Python process {how} instead of returning")
        finally:
            process.kill()
            process.join()
            ours.close()


def _steady(message: str) -> str:
    """One line, the same in every run: no addresses, no line breaks, not too long."""
    message = re.sub(r"0x[0-9a-fA-F]+", "0x…", " ".join(message.split()))
    return message if len(message) <= 300 else message[:299] + "…"


def _work(
    connection: Connection, id: str, answer: Answer, seed: int, limits: Limits, folder: str
) -> None:
    """The child's side: shut the doors, run the answer, send what was found."""
    exercise(id)  # imports the lesson while files may still be written
    os.chdir(folder)
    _limit(limits)
    try:
        names: dict[str, Any] = {"__name__": "answer"}
        for line in answer.imports:
            with contextlib.suppress(Exception):
                exec(line, names)
        exec(compile(answer.code, "answer", "exec"), names)
        result = run_check(id, names[answer.name], seed)
        found = (result.status, result.message)
    except BaseException as error:
        found = ("FAIL", f"got {type(error).__name__}: {error}, expected a function.")
    connection.send_bytes(json.dumps(found).encode("utf-8"))
    os._exit(0)


def _limit(limits: Limits) -> None:
    sys.dont_write_bytecode = True
    torch.set_num_threads(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stderr = _Paper(limits.output)
    seconds = int(limits.seconds)
    signal.setitimer(signal.ITIMER_REAL, 3 * limits.seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (_spent() + seconds, _spent() + seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    pages = Path("/proc/self/statm")
    if pages.exists():  # elsewhere a limit on addresses is not kept
        now = int(pages.read_text().split()[0]) * resource.getpagesize()
        most = now + limits.megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with contextlib.suppress(Exception):  # a network of its own, where the system allows it
        ctypes.CDLL(None).unshare(0x10000000 | 0x40000000)
    sys.addaudithook(_refuse)


def _spent() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_utime + usage.ru_stime) + 1


class _Paper(io.TextIOBase):
    """Takes what is printed, up to a limit, and forgets it."""

    def __init__(self, left: int) -> None:
        self.left = left

    def write(self, text: str) -> int:
        self.left -= len(text)
        if self.left < 0:
            raise OSError("printed too much")
        return len(text)


_DOORS = {
    "start another program": ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork"),
    "use the network": ("socket.",),
    "stop a process": ("os.kill", "signal.pthread_kill"),
    "change files": (
        *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink"),
        *("os.truncate", "os.chmod", "os.chown", "shutil."),
    ),
}


def _refuse(event: str, arguments: tuple) -> None:
    """An audit hook: raise on anything that an exercise function has no business to do."""
    if event == "open":
        path, mode, flags = arguments
        writes = any(c in (mode or "") for c in "wax+")
        writes |= bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and not isinstance(path, int) and path != os.devnull:
            raise PermissionError("a function of an exercise may not write files")
        return
    for what, doors in _DOORS.items():
        if event.startswith(doors):
            raise PermissionError(f"a function of an exercise may not {what}")
