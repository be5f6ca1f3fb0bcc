"""The plan of the chaos: one seed gives one list of faults, whatever happens to the trainer."""

import collections

from benchmarks.chaos.plan import BrokerFault, Kill, NewPartition, plan_of
from benchmarks.chaos.trainer import PHASES


def test_a_seed_gives_the_same_faults_in_the_same_order_and_another_seed_gives_others():
    assert plan_of(7, 50, 12) == plan_of(7, 50, 12)
    assert [str(fault) for fault in plan_of(7, 50, 12).faults] != [str(fault) for fault in plan_of(8, 50, 12).faults]


def test_a_plan_has_as_many_faults_as_were_asked_for_and_each_phase_in_turn():
    for seed in range(20):
        faults = plan_of(seed, 50, 12).faults
        kills = [fault for fault in faults if isinstance(fault, Kill)]
        assert collections.Counter(kill.phase for kill in kills) == dict.fromkeys(PHASES, 10)
        assert all({kill.phase for kill in kills[i : i + 5]} == set(PHASES) for i in range(0, 50, 5))
        broken = [fault for fault in faults if isinstance(fault, BrokerFault)]
        assert len({(fault.kind, fault.phase) for fault in broken}) == 9
        assert [fault.phase for fault in broken] == ["reading"] * 3 + ["training"] * 3 + ["committing"] * 3 + ["reading"] * 3
        assert len({fault.windows for fault in kills}) == 3
        assert 20 <= faults.index(NewPartition()) <= 41


def test_the_first_kill_of_each_phase_is_planned_so_that_it_hits():
    for seed in range(20):
        first = [fault for fault in plan_of(seed, 6, 2).faults if isinstance(fault, Kill)][:5]
        assert {kill.phase for kill in first} == set(PHASES)
        assert all(kill.late_secs == 0 and kill.wait_secs <= (2 if kill.phase == "starting" else 4) for kill in first)


def test_a_phase_that_no_planned_kill_hit_is_hit_by_one_in_reserve_and_nothing_is_drawn_for_it():
    plan = plan_of(3, 11, 0)
    assert plan.missed(collections.Counter(PHASES)) is None
    few = collections.Counter(["starting", "reading", "training"])
    # The order is that of the phases, and the same kill is tried until it hits.
    assert [plan.missed(few), plan.missed(few)] == [plan.reserve[3]] * 2
    assert plan == plan_of(3, 11, 0)
    assert plan_of(3, 4, 0).missed(few) is None  # too few kills for each phase


def test_a_run_without_faults_has_an_empty_plan():
    assert plan_of(1, 0, 0).faults == ()
    assert plan_of(1, 0, 0).missed(collections.Counter()) is None
