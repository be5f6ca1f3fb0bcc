"""A run of the chaos that fails can be run again: what strikes is planned, not drawn on the way."""

import argparse

import pytest

from benchmarks.chaos.__main__ import again
from benchmarks.chaos.plan import plan_of
from benchmarks.chaos.run import Chaos


class Stage:
    """Hears what the run says, and has nothing that runs."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def add_partition(self, topic):
        pass


@pytest.mark.parametrize("hit", ["starting", "reading", "committing"])
def test_what_a_kill_hits_changes_no_fault_that_comes_after_it(monkeypatch, hit):
    plan = plan_of(5, 12, 3)
    chaos = Chaos(argparse.Namespace(), stage := Stage(), plan)

    def strike(kill):
        # The planned ones hit what they should not; those in reserve hit.
        chaos.kills[kill.phase if kill in plan.reserve else hit] += 1

    monkeypatch.setattr(chaos, "_kill", strike)
    monkeypatch.setattr(chaos, "_break_the_broker", lambda fault: None)
    chaos._strike_all()
    planned = [f"fault {number} of 16: {fault}" for number, fault in enumerate(plan.faults, 1)]
    assert stage.said[:16] == planned
    missed = [kill for kill in plan.reserve if kill.phase != hit]
    assert stage.said[16:] == [f"one in reserve: {kill}" for kill in missed]


def test_the_command_that_plans_the_same_faults_again():
    args = argparse.Namespace(
        seed=9,
        kills=6,
        broker_faults=2,
        rows_per_sec=800,
        reader="consumer",
        reader_processes=2,
        vocabulary_rows=512,
        trainer="",
        commit="auto",
        peer=True,
    )
    assert again(args) == (
        "make chaos CHAOS='--seed=9 --kills=6 --broker_faults=2 --rows_per_sec=800 --reader=consumer --reader_processes=2 "
        "--vocabulary_rows=512 --commit=auto --peer'"
    )
