"""Work in processes of its own: one, or a team of two as a launcher would start it."""

import multiprocessing
import os
import socket
import warnings
from multiprocessing.connection import wait


def fork(work, *arguments, **options):
    """Begin some work in a process of its own, which has imported all that this one has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        child = multiprocessing.get_context("fork").Process(
            target=work, args=arguments, kwargs=options
        )
        child.start()
    return child


def in_two_processes(work, *arguments):
    """Do the same work in two processes of one team, and wait for both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [fork(_as_rank, rank, port, work, *arguments) for rank in (0, 1)]
    wait([child.sentinel for child in pair])  # when one fails, the other would wait for it
    for child in pair:
        child.join(5)
        child.kill()
        child.join()
    assert [child.exitcode for child in pair] == [0, 0]


def _as_rank(rank, port, work, *arguments):
    """What a launcher tells a process before it begins."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in told.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    work(*arguments)
