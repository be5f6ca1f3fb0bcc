"""How a run ends: the stop signal, cadences, the folder's lock, and what SIGTERM does."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from tfonline.lifecycle import Every, Exit, FolderLock, Liveness, Stop, UserError

# Every child blocks the signals and listens for them before it prints "ready".
LISTENING = """
import signal, sys, threading
from tfonline import lifecycle
lifecycle.block_signals()
stop = lifecycle.Stop()
stop.activity.began = stop.activity.window_open = True
def listen(drain_secs, say=lambda text: print(text, flush=True)):
    lifecycle.stop_on_signals(stop, drain_secs, say)
    print("ready", flush=True)
"""


class Child:
    """A Python process in which lines of code follow LISTENING."""

    def __init__(self, code: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", LISTENING + textwrap.dedent(code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.line("ready")

    def line(self, expected: str) -> None:
        """Waits for the next line of output, which must begin with this."""
        line = self.process.stdout.readline()
        assert line.startswith(expected), line

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Waits for the end; gives the exit code and the rest of the output."""
        output = self.process.stdout.read()  # not communicate(), which would miss what line() has read ahead
        return self.process.wait(timeout=30), output


@pytest.fixture
def child():
    """Starts children and leaves none behind."""
    children = []

    def start(code: str) -> Child:
        children.append(Child(code))
        return children[-1]

    yield start
    for c in children:
        with c.process:  # closes the pipes and waits
            c.process.kill()


def test_exit_codes_are_those_of_sysexits():
    assert {e.name: e.value for e in Exit} == {
        "OK": 0, "BUG": 1, "FLAGS": 64, "DATA": 65, "NO_INPUT": 66, "UNAVAILABLE": 69, "NOT_FINITE": 70, "STEP": 71,
        "CANNOT_WRITE": 73, "TRY_AGAIN": 75, "CREDENTIALS": 77, "CONFIG": 78,
    }  # fmt: skip


def test_a_user_error_carries_its_exit_code():
    error = UserError("the broker is away", Exit.UNAVAILABLE)
    assert (str(error), error.code) == ("the broker is away", 69)


# Stop


def test_the_first_reason_to_stop_wins():
    stop = Stop()
    assert (stop.requested(), stop.reason) == (False, "")
    stop.request("SIGTERM")
    stop.request("the run has ended")
    assert (stop.requested(), stop.reason) == (True, "SIGTERM")


def test_waiting_ends_as_soon_as_a_stop_is_asked_for():
    stop = Stop()
    assert stop.wait(0.0) is False
    waiting = threading.Thread(target=stop.request, args=("SIGTERM",))
    waiting.start()
    assert stop.wait(30.0) is True
    waiting.join()


# Every


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_due_by_steps():
    every = Every(steps=10, clock=Clock())
    assert [step for step in range(25) if every.due(step)] == list(range(10, 25))
    every.done(12)
    assert [step for step in range(12, 25) if every.due(step)] == [22, 23, 24]


def test_due_by_time():
    clock = Clock()
    every = Every(secs=5.0, clock=clock)
    clock.now += 4.5
    assert not every.due(10**9)
    assert every.left == 0.5
    clock.now += 0.5
    assert every.due(0)
    every.done(0)
    assert not every.due(0)
    clock.now += 5
    assert every.due(0)


def test_due_by_whichever_comes_first_and_both_begin_anew():
    clock = Clock()
    every = Every(steps=10, secs=5.0, clock=clock)
    assert every.due(10)
    clock.now += 5
    assert every.due(1)
    every.done(8)
    clock.now += 4.5
    assert not every.due(17)
    assert every.due(18)


@pytest.mark.parametrize("never", [{}, {"steps": 0, "secs": 0}, {"steps": None, "secs": None}])
def test_neither_steps_nor_seconds_is_never_due(never):
    clock = Clock()
    every = Every(**never, clock=clock)
    clock.now += 1e9
    assert not every.due(10**9)
    assert every.left == float("inf")


# FolderLock


def test_a_folder_is_held_once_until_it_is_released(tmp_path):
    lock = FolderLock(str(tmp_path))
    with pytest.raises(UserError, match="another run is using --model_dir=") as e:
        FolderLock(str(tmp_path))
    assert e.value.code == 75
    assert f"{tmp_path}. Stop it first, or use another folder." in str(e.value)
    lock.release()
    FolderLock(str(tmp_path)).release()


def test_a_refused_lock_leaves_no_file_open(tmp_path):
    lock = FolderLock(str(tmp_path))
    with pytest.raises(UserError) as e:
        FolderLock(str(tmp_path))
    links = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    assert links.count(os.path.realpath(tmp_path / ".lock")) == 1, e.value
    lock.release()


def test_a_killed_process_frees_its_folder(tmp_path, child):
    holder = child(f"lock = lifecycle.FolderLock({str(tmp_path)!r}); listen(30); threading.Event().wait(30)")
    with pytest.raises(UserError) as e:
        FolderLock(str(tmp_path))
    assert e.value.code == 75
    holder.send(signal.SIGKILL)
    holder.process.wait(timeout=30)
    FolderLock(str(tmp_path)).release()


def flock_that_fails(number):
    def fails(file, how):
        raise OSError(number, os.strerror(number))

    return fails


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_not_told_as_another_run(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", flock_that_fails(number))
    with pytest.raises(UserError) as e:
        FolderLock(str(tmp_path))
    assert e.value.code == 73
    how = f"--model_dir={tmp_path} cannot be locked: its file system has no locks ({os.strerror(number)}), so that two processes "
    assert str(e.value) == (
        f"{how}would write there unnoticed. Use a folder on another file system, or mount this one with locks (Lustre: option "
        "flock; NFS: with its lock service)."
    )


def test_any_other_error_of_a_lock_keeps_its_text_and_leaves_no_file_open(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", flock_that_fails(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        FolderLock(str(tmp_path))
    links = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    assert os.path.realpath(tmp_path / ".lock") not in links


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_for_a_stop(child, number):
    run = child("""
        said = threading.Event()
        def say(text):
            print(text, flush=True)
            said.set()
        listen(20, say)
        assert stop.wait(30)
        assert said.wait(30)
        print("stopped by", stop.reason)
        sys.exit(7)
    """)
    run.send(number)
    run.line(f"{number.name}: finishing the window, 20 s at most; again to leave at once\n")
    assert run.end() == (7, f"stopped by {number.name}\n")


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 128 + 15), (signal.SIGINT, 128 + 2)])
def test_the_second_signal_leaves_at_once(child, second, code):
    run = child("listen(1000); threading.Event().wait(30)")
    run.send(signal.SIGTERM)
    run.line("SIGTERM: finishing the window, 1000 s at most")
    run.send(second)
    assert run.end() == (
        code,
        f"{second.name} again: leaving at once; what was not saved will be read again from the last checkpoint\n",
    )


def test_a_drain_that_never_ends_is_ended(child):
    run = child("listen(0.05); threading.Event().wait(30)")
    run.send(signal.SIGTERM)
    run.line("SIGTERM: finishing the window, 0.05 s at most")
    code, output = run.end()
    assert code == 0
    assert output == (
        "the window did not end within --drain_secs=0.05: dropped unsaved; what was not saved will be read again from the last "
        "checkpoint\n"
    )


def test_before_the_loop_a_signal_leaves_at_once(child):
    run = child("stop.activity.began = False; listen(1000); threading.Event().wait(30)")
    run.send(signal.SIGTERM)
    assert run.end() == (0, "SIGTERM: no window has begun yet; leaving at once\n")


def test_without_an_open_window_a_read_that_hangs_is_not_waited_for(child):
    run = child("""
        stop.activity.window_open, stop.activity.waiting_since = False, 0.0
        lifecycle._LAST_READ_SECS = 0.1
        listen(1000)
        threading.Event().wait(30)
    """)
    run.send(signal.SIGTERM)
    run.line("SIGTERM: no window is open, ending, 1000 s at most; again to leave at once\n")
    said = (
        "no window is open, and the next rows do not come: leaving; what was not saved will be read again from the last checkpoint"
    )
    assert run.end() == (0, f"{said}\n")


def test_a_disk_that_hangs_does_not_hold_the_process(child):
    run = child("""
        stop.saving.acquire()  # and never released
        lifecycle._SAVE_SECS = 0.1
        listen(1000)
        threading.Event().wait(30)
    """)
    run.send(signal.SIGTERM)
    run.line("SIGTERM: finishing the window, 1000 s at most")
    run.send(signal.SIGTERM)
    code, output = run.end()
    assert code == 128 + signal.SIGTERM
    assert "did not come to disk within 0.1 s: left unfinished. The one before it is whole." in output


@pytest.mark.parametrize("second", [True, False])
def test_a_forced_exit_waits_for_the_checkpoint_that_is_being_written(child, second):
    """By a second signal and by a drain that takes too long."""
    run = child(f"""
        saving, left = True, threading.Event()
        def say(text):
            if "finishing" not in text:
                print("left in the middle of a save:", saving, flush=True)
                left.set()
        with stop.saving:
            listen({30.0 if second else 0.01}, say)
            stop.wait(30)
            print("saving", flush=True)
            sys.stdin.readline()
            left.wait(0.3)  # an exit that did not wait for the save would come in this time
            saving = False
        left.wait(30)
    """)
    run.send(signal.SIGTERM)
    run.line("saving")
    if second:
        run.send(signal.SIGTERM)
    run.process.stdin.write("\n")
    run.process.stdin.flush()
    assert run.end() == (143 if second else 0, "left in the middle of a save: False\n")


def test_a_stop_is_asked_for_even_where_nothing_can_be_said(child):
    """A closed pipe behind stdout must not make SIGTERM go unheard: the signals are blocked, nobody else hears them."""
    run = child("""
        import os
        threading.excepthook = lambda args: None
        def say(text):
            raise BrokenPipeError
        listen(20, say)
        os._exit(0 if stop.wait(5) else 9)
    """)
    run.send(signal.SIGTERM)
    assert run.end() == (0, "")


def test_a_wait_for_the_next_element_is_told_again_and_again():
    now, told = [0.0], []
    liveness = Liveness(10.0, told.append, clock=lambda: now[0])

    def elements():
        liveness.check()
        now[0] = 9.9
        liveness.check()  # not long enough
        now[0] = 10.0
        liveness.check()
        liveness.check()  # told already
        now[0] = 25.0
        liveness.check()
        yield "a"
        now[0] = 34.0
        liveness.check()  # the wait for the second element began at 25
        yield "b"

    seen = []
    for element in liveness.watch(elements()):
        seen.append(element)
        before = list(told)
        now[0] += 100.0  # learning may take as long as it likes
        liveness.check()
        assert told == before
        now[0] -= 100.0
    assert seen == ["a", "b"]
    assert told == [10.0, 25.0]


def test_a_wait_is_watched_by_a_thread():
    stuck = threading.Event()
    with Liveness(0.01, lambda _: stuck.set()) as liveness:
        assert list(liveness.watch(iter(lambda: None if stuck.wait(10) else 1, None))) == []
    assert stuck.is_set()


def test_nothing_that_starts_threads_is_imported_before_signals_are_blocked():
    # A thread that was there before would take the SIGTERM, and the process would die of it.
    code = "import sys, tfonline.train; print(sorted({'numpy', 'pyarrow', 'tensorflow'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
