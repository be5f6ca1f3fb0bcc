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


def test_a_phase_that_the_planned_kills_missed_is_hit_by_one_in_reserve_and_nothing_is_drawn_for_it():
    plan = plan_of(3, 11, 0)  # two in each phase
    hit = collections.Counter(dict.fromkeys(PHASES, 2))
    assert plan.missed(hit) is None
    assert plan.missed(hit - collections.Counter(["saving"])).phase == "saving"
    # The order is that of the phases, and the same kill is tried until it hits.
    few = hit - collections.Counter(["saving", "committing"])
    assert [plan.missed(few), plan.missed(few)] == [plan.reserve[3]] * 2
    assert plan == plan_of(3, 11, 0)


def test_a_run_without_faults_has_an_empty_plan():
    assert plan_of(1, 0, 0).faults == ()
    assert plan_of(1, 0, 0).missed(collections.Counter()) is None
