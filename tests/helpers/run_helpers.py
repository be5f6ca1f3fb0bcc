"""Runs beside a test: in threads, and in processes of their own."""

import contextlib
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.chaos.trainer import Trainer, command_of
from tfonline.lifecycle import Stop, UserError


@contextlib.contextmanager
def in_threads(train: Callable[..., dict]) -> Iterator[Callable[..., tuple[Stop, list, threading.Thread]]]:
    """Gives what begins a run; its arguments are those of `train` behind the stop. All runs end with the context.

    What begins a run gives (stop, result, thread); the result holds the summary, or the error.
    """
    begun = []

    def begin(*args: Any, **settings: Any) -> tuple[Stop, list, threading.Thread]:
        stop, result = Stop(), []

        def work() -> None:
            try:
                result.append(train(stop, *args, **settings))
            except UserError as e:
                result.append(e)

        begun.append((stop, threading.Thread(target=work)))
        begun[-1][1].start()
        return stop, result, begun[-1][1]

    yield begin
    for stop, thread in begun:
        stop.request("the test's end")
        thread.join()


@contextlib.contextmanager
def in_processes(flags: Callable[..., dict], log: pathlib.Path) -> Iterator[Callable[..., Trainer]]:
    """Gives what begins a trainer as a process; its arguments are those of `flags`. All are killed with the context's end."""
    trainers = []

    def begin(*args: Any, **settings: Any) -> Trainer:
        trainers.append(Trainer(command_of(""), flags(*args, **settings), log))
        return trainers[-1]

    yield begin
    for trainer in trainers:
        trainer.kill()
