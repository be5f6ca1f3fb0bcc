"""The faults: what each does, which alerts it must raise, and what may follow from it."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator

from benchmarks.commands import tool
from benchmarks.ops.asking import Asking
from benchmarks.ops.feed import Change, cut_short, label_in, labels_in_doubt, without_column
from benchmarks.ops.stage import VOCABULARY_ROWS, Stage

# A day at the pace of the test (pace.SPEED) is 720 s.
YESTERDAY_SECS = 1500.0
DRIFTING = "C14"
_PLACE = 13 + int(DRIFTING[1:])
_KILLS = 5
_SMALL_VOCABULARY = 1 << 10
# Starts take a quarter of a minute, which is half an hour at this pace: the trainer is down for so long, and late behind it.
_START = ("TfonlineTrainerDown", "TfonlineLate", "TfonlineRestartsOften")

_LEARNS_FAST = {"rollback_on_regression": 0.02, "deep_learning_rate": 0.01, "wide_learning_rate": 0.5, "gate_rows": 2000}
_LEARNS_FAST_BEFORE = {"rollback_on_regression": 0, "deep_learning_rate": 0.001, "wide_learning_rate": 0.05, "gate_rows": 4000}

# A server takes some seconds, a quarter of an hour at this pace, and answers 503 until it has loaded a version.
_SERVER_START = ("TfonlineServerDown", "TfonlineServerErrors")


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
      name: for people.
      expects: the alerts that it must raise; (): none may be raised.
      strikes: brings it about on entering, and mends it on leaving.
      follows: alerts that may be raised besides, as a consequence of the fault or of what mends it.
      secs: without any alert to expect, for how long none may come.
    """

    name: str
    expects: tuple[str, ...]
    strikes: Callable[[Stage], contextlib.AbstractContextManager[None]]
    follows: tuple[str, ...] = ()
    secs: float = 0.0


@contextlib.contextmanager
def _nothing(_: Stage) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _no_folder(stage: Stage) -> Iterator[None]:
    """The folder of versions is gone, and a file is in its place. It was when the stage was set (see break_folder)."""
    yield
    stage.models.unlink()
    _away(stage).rename(stage.models)


def break_folder(stage: Stage) -> None:
    """The first part of _no_folder."""
    stage.models.rename(_away(stage))
    stage.models.touch()


def _away(stage: Stage) -> pathlib.Path:
    return stage.models.with_name("models-away")


@contextlib.contextmanager
def _idle(stage: Stage) -> Iterator[None]:
    stage.feed.paused = True
    yield
    stage.feed.paused = False


def _changed(change: Change) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def strikes(stage: Stage) -> Iterator[None]:
        stage.feed.change = change
        yield
        stage.feed.change = None

    return strikes


@contextlib.contextmanager
def _no_broker(stage: Stage) -> Iterator[None]:
    stage.take_broker()
    yield
    stage.return_broker()
    stage.wait(stage.learns, "the trainer learns again, now that the broker is back")


@contextlib.contextmanager
def _kills(stage: Stage) -> Iterator[None]:
    for _ in range(_KILLS):
        before = len(stage.trainer.codes)
        stage.trainer.kill()
        stage.wait(lambda before=before: len(stage.trainer.codes) > before and stage.learns(), "the trainer learns after a kill")
    yield


def _with_flags(**flags: object) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    """The trainer is started with other flags."""

    @contextlib.contextmanager
    def strikes(stage: Stage) -> Iterator[None]:
        before = {name: stage.trainer.flags[name] for name in flags}
        stage.trainer.restart(**flags)
        yield
        stage.trainer.restart(**before)
        stage.wait(stage.learns, "the trainer learns with the flags from before")

    return strikes


@contextlib.contextmanager
def _small_vocabulary(stage: Stage) -> Iterator[None]:
    stage.resize_vocabulary(_SMALL_VOCABULARY)
    yield
    stage.resize_vocabulary(VOCABULARY_ROWS)
    stage.wait(stage.learns, "the trainer learns with its larger vocabulary")


@contextlib.contextmanager
def _short_retention(stage: Stage) -> Iterator[None]:
    stage.trainer.stop()
    time.sleep(3)  # rows come that it has not read
    stage.delete_rows()
    stage.trainer.restart()
    yield


@contextlib.contextmanager
def _rolled_back(stage: Stage) -> Iterator[None]:
    tool("models.py", "rollback", stage.models)
    yield
    tool("models.py", "resume", stage.models)


@contextlib.contextmanager
def _leak(stage: Stage) -> Iterator[None]:
    """A column tells the label until two versions have learned that, which is wrong from then on."""
    before = {name: stage.trainer.flags.get(name, of) for name, of in _LEARNS_FAST_BEFORE.items()}
    stage.trainer.restart(**_LEARNS_FAST)
    stage.wait(stage.learns, "the trainer learns with a high rate")
    first = stage.newest_version()
    stage.feed.change = label_in(_PLACE)
    stage.wait(lambda: stage.newest_version() >= first + 2, "two versions are published while the column tells the label")
    stage.feed.change = None
    yield
    stage.versions_left = stage.versions_gone_back_from(first)
    tool("models.py", "resume", stage.models)
    stage.trainer.restart(**before)
    stage.wait(stage.learns, "the trainer learns with the flags from before")


@contextlib.contextmanager
def _no_delta_folder(stage: Stage) -> Iterator[None]:
    """The trainer makes deltas, and then a file is in the place of their folder."""
    deltas, away = stage.models / "deltas", stage.folder / "deltas-away"
    stage.trainer.restart(delta_every_secs=1)
    stage.wait(lambda: stage.learns() and bool(list(deltas.glob("*.delta"))), "the trainer makes deltas")
    deltas.rename(away)
    deltas.touch()
    yield
    deltas.unlink()
    away.rename(deltas)
    stage.trainer.restart(delta_every_secs=0)
    stage.wait(stage.learns, "the trainer learns, without deltas")


@contextlib.contextmanager
def _damaged_delta(stage: Stage) -> Iterator[None]:
    """One of a later epoch than any that there is."""
    file = stage.models / "deltas" / "900000-000001.delta"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"cut")
    yield
    file.unlink()


@contextlib.contextmanager
def _no_server(stage: Stage) -> Iterator[None]:
    stage.server.stop()
    yield
    stage.server.restart()
    stage.wait(stage.serves, "the server serves again")


@contextlib.contextmanager
def _crowd(stage: Stage) -> Iterator[None]:
    """Each answer waits for those of all others: 24 times what 1,000 rows take."""
    with contextlib.closing(Asking(stage.ports["tfonline-server"], 24, 0.01, rows_a_request=1000)):
        yield


def _server_with(ask: bool = False, **flags: object) -> Callable[[Stage], contextlib.AbstractContextManager[None]]:
    """The server is started with other flags; `ask`: and asked by many."""

    @contextlib.contextmanager
    def strikes(stage: Stage) -> Iterator[None]:
        before = stage.server.flags
        stage.server.restart(**flags)
        stage.wait(stage.serves, "the server serves with other flags")
        with contextlib.closing(Asking(stage.ports["tfonline-server"], 8, 0.01)) if ask else contextlib.nullcontext():
            yield
        stage.server.stop()
        stage.server.flags = before
        stage.server.start()
        stage.wait(stage.serves, "the server serves with its flags from before")

    return strikes


FAULTS = (
    Fault(
        "the folder of versions has been gone since yesterday",
        ("TfonlineExportsFail", "TfonlineNothingPublished", "TfonlineServedModelOld"), _no_folder,
    ),
    Fault("nothing", (), _nothing, secs=60),
    Fault("no rows come", (), _idle, secs=60),
    Fault(f"column {DRIFTING} is empty", ("TfonlineColumnDrift",), _changed(without_column(_PLACE)), ("TfonlineModelDrift",)),
    Fault("one row in twenty is cut short", ("TfonlineRowsRefused",), _changed(cut_short)),
    Fault("the server is gone", ("TfonlineServerDown",), _no_server, (*_SERVER_START, "TfonlineServerStale")),
    Fault(
        "the server has room for one request", ("TfonlineServerErrors",), _server_with(ask=True, max_requests=1),
        (*_SERVER_START, "TfonlineServerSlow"),
    ),
    Fault("a crowd asks the server for many rows", ("TfonlineServerSlow",), _crowd, ("TfonlineLate",)),
    Fault(
        "the server does not look for versions", ("TfonlineServerStale",), _server_with(poll_secs=86_400), _SERVER_START,
    ),
    Fault("publishing stays paused after a rollback", ("TfonlinePublishingPaused",), _rolled_back),
    Fault(
        "a column tells the label for a while", ("TfonlineRolledBack",), _leak,
        (*_START, "TfonlineColumnDrift", "TfonlineModelDrift", "TfonlineMiscalibrated", "TfonlineWorseThanTrivial",
         "TfonlinePublicationsRefused", "TfonlinePublishingPaused", "TfonlineNothingPublished"),
    ),
    Fault("a delta is damaged", ("TfonlineDeltaProblems",), _damaged_delta),
    Fault(
        "the folder of deltas is gone", ("TfonlineDeltasHeldBack",), _no_delta_folder,
        (*_START, "TfonlineDeltaProblems", "TfonlineExportsFail"),
    ),
    Fault("the vocabulary is too small", ("TfonlineVocabularyFull",), _small_vocabulary, (*_START, "TfonlineModelDrift")),
    Fault("retention is too short", ("TfonlineRowsLost",), _short_retention, _START),
    Fault(
        "labels are in doubt",
        ("TfonlineWorseThanTrivial", "TfonlineMiscalibrated", "TfonlinePublicationsRefused", "TfonlineModelDrift"),
        _changed(labels_in_doubt), ("TfonlineNothingPublished",),
    ),
    Fault(
        "the trainer is stopped most of the time", ("TfonlineFallsBehind", "TfonlineLate"),
        lambda stage: stage.trainer.slowed(0.19, 0.01), ("TfonlineCheckpointOld", "TfonlineNothingPublished"),
    ),
    Fault("the broker is killed", ("TfonlineTrainerDown",), _no_broker, _START),
    Fault("the trainer is killed again and again", ("TfonlineRestartsOften", "TfonlineTrainerDown"), _kills, _START),
    Fault(
        "no checkpoint is due for a day", ("TfonlineCheckpointOld",), _with_flags(checkpoint_secs=86_400),
        (*_START, "TfonlineNothingPublished"),
    ),
)  # fmt: skip
