"""Which rows are ready by the clock and by their outcomes, and which outcomes a window is joined with."""

import random

import pytest
from label_helpers import WAIT, At, Topic, secs, windows

from tfonline.lifecycle import UserError
from tfonline.stream.window import Labels


@pytest.mark.parametrize(("policy", "ready"), [("wait", 2), ("es_dfm", 3), ("fnw", 4), ("fnc", 4)])
def test_rows_are_ready_by_their_age(policy, ready):
    at = At(Topic("rows", secs(300, 101, 99, 5, -5)), Topic("outcomes", secs(400)), policy)
    assert at.ready.ends() == [ready]
    assert at.ready.waiting == [5 - ready]


def test_rows_get_ready_as_the_clock_goes_on_and_never_the_other_way():
    at = At(Topic("rows", secs(101, 99, 50)), Topic("outcomes", []))
    assert at.ready.ends() == [1]
    at.now += 2
    assert at.ready.ends() == [2]
    at.now -= 1000
    assert at.ready.ends() == [2]
    at.now += 1060
    assert at.ready.ends() == [3]


def test_a_checkpoint_ahead_of_what_is_ready_keeps_its_place():
    """Such as one of a run with a shorter wait."""
    at = At(Topic("rows", secs(300, 200, 50, 40), secs(300)), Topic("outcomes", []), position=[3, 0])
    assert at.ready.ends() == [3, 1]


def test_a_row_behind_younger_ones_waits_for_them():
    at = At(Topic("rows", secs(300, 50, 200)), Topic("outcomes", []))
    assert at.ready.ends() == [1]


def test_rows_wait_for_outcomes_that_are_behind_which_is_said_once():
    at = At(Topic("rows", secs(500, 300, 200, 150)), Topic("outcomes", secs(350)), label_idle_secs=20)
    # The newest outcome is 350 s old: those of rows from before 350 + 100 - 20 s ago must have come.
    assert at.ready.ends() == [1]
    at.now += 6  # the newest outcome is looked at again
    assert at.ready.ends() == [1]
    assert at.said == [
        "rows wait for the outcomes of outcomes: the newest is 350 s old. Labels without them would be wrong. Mend what writes "
        "them; where outcomes may be so rare, use a larger --label_idle_secs."
    ]
    at.outcomes.times[0] += secs(230)
    at.now += 6
    assert at.ready.ends() == [1]  # 230 + 100 - 20 = 310
    at.outcomes.times[0] += secs(-15)
    at.now += 6
    assert at.ready.ends() == [4]
    assert at.said[1:] == ["outcomes of outcomes have come, rows are learned from again"]


def test_where_outcomes_may_be_rare_rows_do_not_wait_for_them():
    at = At(Topic("rows", secs(500, 300, 200, 150)), Topic("outcomes", secs(350)), label_idle_secs=400)
    assert at.ready.ends() == [4]
    assert at.said == []


def test_no_outcome_at_all_makes_rows_wait():
    at = At(Topic("rows", secs(500, 300)), Topic("outcomes", [], []), label_idle_secs=300)
    assert at.ready.ends() == [0]
    assert "none has come" in at.said[0]


def test_where_rows_do_not_wait_outcomes_that_are_behind_hold_nothing_back():
    at = At(Topic("rows", secs(500, 300)), Topic("outcomes", []), "fnw", label_idle_secs=1)
    assert at.ready.ends() == [2]
    assert at.said == []


def random_topic(draw, name, disorder):
    def times():
        found = sorted(draw.uniform(-500, 2000) for _ in range(draw.randint(0, 150)))
        return secs(*(s + draw.uniform(-disorder, disorder) for s in sorted(found, reverse=True)))

    return Topic(name, *(times() for _ in range(draw.randint(1, 3))))


@pytest.mark.parametrize("policy", ["wait", "fnw", "es_dfm"])
@pytest.mark.parametrize("seed", range(20))
def test_a_window_reads_every_outcome_that_may_be_of_its_rows_and_goes_on_where_the_one_before_ended(seed, policy):
    draw = random.Random(seed)
    disorder = draw.choice([0, 0, 20])  # seconds; half of what is allowed for, which is the wait
    at = At(random_topic(draw, "rows", disorder), random_topic(draw, "outcomes", disorder), policy)
    delay = {"wait": WAIT, "es_dfm": 10}.get(policy, 0)
    last = None
    for start, stop, labels in windows(at, draw, 12):
        if last:
            assert labels.new == last.stop
            for name in ("first", "rows", "known", "stop"):
                assert all(a >= b for a, b in zip(getattr(labels, name), getattr(last, name), strict=True))
        last = labels
        of_rows = [t for p, (a, b) in enumerate(zip(start, stop, strict=True)) for t in at.rows.times[p][a:b]]
        for p, times in enumerate(at.outcomes.times):
            assert labels.first[p] <= labels.stop[p]
            assert labels.new[p] <= labels.stop[p]
            assert labels.known[p] <= labels.new[p]
            # Every outcome that may be in time for a row at its first sight is among those that are held or read.
            wanted = [o for o, at_ms in enumerate(times) if any(0 <= at_ms - t <= 1000 * delay for t in of_rows)]
            if disorder == 0 or policy == "wait":
                in_reach = [o for o in wanted if times[o] <= 1000 * at.now]
                assert all(labels.first[p] <= o for o in wanted)
                assert disorder or all(o < labels.stop[p] for o in in_reach)
        if policy != "wait":
            oldest = min(of_rows) + 1000 * (delay - WAIT)
            for p, times in enumerate(at.rows.times):
                # A row that may still get an outcome which no window has read is read again by who resumes.
                assert labels.rows[p] <= start[p]
                assert all(o >= labels.rows[p] for o, t in enumerate(times[: start[p]]) if t >= oldest) or not any(labels.rows)


def test_of_rows_that_have_waited_outcomes_are_read_that_stand_behind_younger_ones():
    """All that there is by the time: ten minutes, or the wait, beyond the last one that may count."""
    at = At(Topic("rows", secs(1000)), Topic("outcomes", secs(990, 850, 950, 700)))
    at.ready.ends()
    assert at.ready.labels([0], [1], None).stop == (3,)


def test_a_new_model_has_learned_from_no_row_before_its_first():
    at = At(Topic("rows", secs(*range(200, 100, -10))), Topic("outcomes", secs(*range(200, 100, -5))), "fnw", position=[5])
    at.ready.ends()
    labels = at.ready.labels([5], [8], None)
    assert (labels.rows, labels.known) == ((5,), labels.new)
    following = at.ready.labels([8], [10], labels)
    assert following.rows == (5,)


def test_partitions_of_outcomes_that_are_added_are_read_from_their_beginning():
    at = At(Topic("rows", secs(500, 400, 300)), Topic("outcomes", secs(495, 395)))
    at.ready.ends()
    first = at.ready.labels([0], [1], None)
    at.outcomes.times.append(secs(390, 380))
    second = at.ready.labels([1], [2], first)
    assert (len(first.stop), len(second.stop)) == (1, 2)
    assert second.new[1] == 0
    assert second.stop[1] == 2
    # And the look at outcomes that are behind does not mix the two.
    behind = At(Topic("rows", secs(500, 400)), Topic("outcomes", secs(495)), label_idle_secs=1)
    behind.outcomes.times.append(secs(490))
    assert behind.ready.ends() == [0]


def test_partitions_of_rows_that_are_added_are_ready_by_their_age():
    at = At(Topic("rows", secs(500, 400)), Topic("outcomes", secs(495, 395)), "fnw")
    at.ready.ends()
    first = at.ready.labels([0], [2], None)
    at.rows.times.append(secs(450, 3))
    at.now += 5
    at.ready.begins()
    assert at.ready.ends() == [2, 2]
    second = at.ready.labels([2, 0], [2, 2], first)
    assert second.rows == (0, 0)


def resumed(policy="wait", on_lost="fail", first=0, rows_first=0):
    """A run that goes on behind row 6 of 10, 20 s apart from each other; each has an outcome 5 s after it."""
    rows, outcomes = secs(*range(1000, 800, -20)), secs(*range(995, 795, -20))
    at = At(Topic("rows", rows), Topic("outcomes", outcomes), policy, position=[6], on_lost=on_lost)
    at.outcomes.first, at.rows.first = [first], [rows_first]
    at.ready.ends()
    return at, lambda: at.ready.labels([6], [8], Labels((1,), (6,), (8,), (2,), (1,)))


@pytest.mark.parametrize("policy", ["wait", "fnw"])
def test_outcomes_that_no_window_has_read_and_that_are_gone_end_the_run(policy):
    _, labels = resumed(policy, first=9)
    with pytest.raises(UserError, match=r"outcomes that no window has read are no longer in outcomes .*0: \[8, 9\)") as e:
        labels()
    assert e.value.code == 66
    assert "--on_lost_rows=skip" in str(e.value)


def test_or_they_are_passed_over_which_is_said():
    at, labels = resumed(on_lost="skip", first=9)
    assert labels().new == (9,)
    assert at.said[0].startswith("warning: outcomes that no window has read are no longer in outcomes")


@pytest.mark.parametrize("policy", ["wait", "fnw"])
def test_outcomes_that_a_resumed_run_reads_again_and_that_are_gone_end_it(policy):
    # Those of the rows from 6 on are needed: outcome 6, and with the slack of a wait of 100 s those from 1 on.
    _, labels = resumed(policy, first=7)
    with pytest.raises(UserError, match=r"outcomes of rows that are to be learned from are no longer in outcomes") as e:
        labels()
    assert e.value.code == 66
    # What is not needed may go.
    at, _ = resumed("wait", first=2)
    assert at.ready.labels([9], [10], Labels((0,), (6,), (8,), (9,), (8,))).first >= (3,)


def test_rows_that_a_resumed_run_reads_again_and_that_are_gone_end_it():
    _, labels = resumed("fnw", rows_first=4)
    with pytest.raises(UserError, match=r"rows that an outcome may still come for are no longer in rows .*0: \[2, 4\)") as e:
        labels()
    assert e.value.code == 66
    _, labels = resumed("wait", rows_first=4)
    labels()
    at, labels = resumed("fnw", on_lost="skip", rows_first=4)
    assert labels().rows >= (4,)
    assert len(at.said) == 1


def test_what_goes_while_a_run_holds_it_is_not_missed():
    at, labels = resumed("fnw")
    before = labels()
    at.outcomes.first, at.rows.first = [8], [7]
    at.ready.labels([8], [10], before)
    assert at.said == []


def test_a_new_model_whose_outcomes_begin_behind_its_rows_is_warned():
    for first, warned in ((0, False), (3, True)):
        at = At(Topic("rows", secs(*range(1000, 800, -20))), Topic("outcomes", secs(*range(995, 795, -20))))
        at.outcomes.first = [first]
        at.ready.ends()
        at.ready.labels([0], [4], None)
        assert bool(at.said) == warned
    assert at.said[0].startswith("warning: retention has removed outcomes of outcomes")


class Waits(list):
    """A stop that nobody asks for, and how long it was waited for."""

    def wait(self, secs):
        self.append(secs)


@pytest.mark.parametrize(
    ("settings", "waits"),
    [
        ({"label_wait_secs": 86_400}, [1.0]),  # rows get ready by the clock: a second more is nothing beside a day
        ({"label_wait_secs": 50}, [0.5]),
        ({"label_wait_secs": 5}, [0.2]),
        ({"policy": "fnw"}, [0.2, 1.0]),  # rows are ready as they come
    ],
)
def test_the_broker_is_asked_as_often_as_the_wait_needs(settings, waits):
    at, stop = At(Topic("r", secs(500)), Topic("o", secs(1)), **settings), Waits()
    ends = at.ready.ends()
    assert at.ready.wait_for_rows(ends, stop, 60)
    assert stop == waits
    if len(waits) > 1:
        stop.clear()
        at.rows.times[0].append(secs(0)[0])  # has come meanwhile
        assert at.ready.wait_for_rows(ends, stop, 60)
        assert stop == [0.2]
