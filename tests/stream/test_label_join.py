"""The join of rows and outcomes against one that looks at all pairs; and who goes on where another one has ended."""

import collections
import random

import numpy as np
import pytest
from label_helpers import WAIT, At, Topic, secs, windows

from tfonline.lifecycle import UserError
from tfonline.stream.labels import COUNTED
from tfonline.stream.labels.fields import Joined
from tfonline.stream.labels.held import Held
from tfonline.stream.labels.join import Join, Times, _without
from tfonline.stream.labels.ready import lost
from tfonline.stream.order import make_raw_batches
from tfonline.stream.raw import Outcome
from tfonline.stream.readers import Rows
from tfonline.stream.records import RowsGone
from tfonline.stream.window import UNREAD, Labels, Window

ELAPSED = 10
POLICIES = {"wait": WAIT, "fnw": -1, "es_dfm": ELAPSED}


class Messages(Topic):
    """A topic whose messages have keys and values, and a RowReader of it."""

    def __init__(self, name, *partitions):
        super().__init__(name, *([time for time, *_ in messages] for messages in partitions))
        self.messages, self.error, self._at = partitions, None, {}

    def place(self, ranges):
        self._at.update(ranges)

    def take(self, partition, most):
        at, stop = self._at[partition]
        if at < self.first[partition] and at < stop:
            raise RowsGone(f"partition {partition}: from {at}")
        until = min(at + most, stop)
        self._at[partition] = until, stop
        some = self.messages[partition][at:until]
        return Rows([m for *_, m in some], list(range(at, until)), [t for t, *_ in some], [k for _, k, _ in some])

    def reader(self):
        reader = Messages(self.name, *self.messages)
        reader.first = self.first
        return reader

    def close(self):
        pass


def rows_of(rows):
    return Joined(rows.offset, rows.key, rows.time_ms)


def outcomes_of(rows):
    says = {b"1": True, b"0": False}
    return rows_of(rows), [says.get(m) if k is not None else None for k, m in zip(rows.key, rows.message, strict=True)]


def draw_stream(draw, number=400, disorder=0.0):
    """Rows over 1,000 seconds, most with a key of their own, and their outcomes; some are of nobody, twice, early or late."""

    def wobble():
        return draw.uniform(-disorder, disorder) if disorder else 0.0

    rows, outcomes = [[] for _ in range(draw.randint(1, 3))], [[] for _ in range(draw.randint(1, 3))]
    ages = sorted((draw.uniform(0, 1000) for _ in range(number)), reverse=True)
    pairs = []
    for n, age in enumerate(ages):
        key = draw.choice([b"k%d" % n, b"k%d" % n, b"shared%d" % draw.randrange(10), None if draw.random() < 0.1 else b"x%d" % n])
        [ms] = secs(age + wobble())
        draw.choice(rows).append((ms, key, None if draw.random() < 0.02 else b"row%d" % n))
        for _ in range(draw.choice([0, 0, 1, 1, 2])):
            delay = draw.choice(
                [draw.expovariate(1 / 20), draw.uniform(-5, 5), draw.uniform(0, WAIT), draw.uniform(WAIT, 2 * WAIT), 0, WAIT]
            )
            value = draw.choice([b"1"] * 8 + [b"0", b"junk", None])
            pairs.append((ms + round(1000 * delay), key if draw.random() < 0.95 else b"nobody", value))
    pairs.sort(key=lambda o: o[0] + 1000 * wobble())
    for pair in pairs:
        draw.choice(outcomes).append(pair)
    return Messages("rows", *rows), Messages("outcomes", *outcomes)


def plan(draw, rows, outcomes, policy, number=14):
    """Windows, some of which pass over their rows, from anywhere on."""
    position = [draw.choice([0, 0, len(times) // 5]) for times in rows.times]
    at, found = At(rows, outcomes, policy, position=position), []
    at.now -= 800
    for n, (start, stop, labels) in enumerate(windows(at, draw, number)):
        trigger = draw.choice(["rows", "rows", "rows", "rows", "skip"])
        found.append(Window(n, tuple(start), tuple(stop), trigger, labels))
    return found


def make_join(policy, rows, outcomes, tmp_path, most=1000, planned=(), on_lost="fail", say=lambda text: None):
    late = policy != "wait"

    def gone(topic):
        def of(ranges):
            lost(on_lost, say, topic.name, "what is needed", ranges)
            return topic.at_timestamp(0)

        return of

    at_once_ms = 1000 * POLICIES[policy] if POLICIES[policy] >= 0 else -1
    return Join(
        outcomes.reader(),
        rows.reader() if late else None,
        rows_of,
        outcomes_of,
        Times(1000 * WAIT, at_once_ms),
        Held(most, tmp_path / "outcomes"),
        Held(most, tmp_path / "rows") if late else None,
        gone(outcomes),
        gone(rows),
        lambda offsets: [w for w in planned if w.trigger in UNREAD],
    )


def learned(join, windows, rows, batch_size=64):
    """Of each window its rows, (partition, offset, outcome, message), in order, and what was counted."""
    found = {w.number: [] for w in windows}
    for raw, number, last in make_raw_batches(windows, rows.reader(), batch_size, join=join):
        assert last or len(raw.message) <= batch_size
        columns = (*raw.origin[:2], raw.outcome, raw.message)
        found[int(number)] += zip(*(column.numpy().tolist() for column in columns), strict=True)
    return {number: (of, dict(join.take(number))) for number, of in found.items()}


def by_all_pairs(policy, windows, rows, outcomes):
    """The same by looking at every row and every outcome: of each window its rows' outcomes, which are late, and the counts."""
    times, late_policy = POLICIES[policy], policy != "wait"
    all_outcomes = [
        (p, o, ms, key) for p, of in enumerate(outcomes.messages) for o, (ms, key, value) in enumerate(of) if value == b"1" and key
    ]
    by_key = collections.defaultdict(list)
    for outcome in all_outcomes:
        by_key[outcome[3]].append(outcome)
    found = {w.number: ({}, set(), collections.Counter()) for w in windows}

    def within(low, high, p, o):
        return low[p] <= o < high[p]

    for w in windows:
        counts = found[w.number][2]
        for p, of in enumerate(outcomes.messages):
            read = of[w.labels.new[p] : w.labels.stop[p]]
            counts["read"] += len(read)
            counts["negative"] += sum(value == b"0" and key is not None for _, key, value in read)
            counts["unreadable"] += sum(key is None or value not in (b"0", b"1") for _, key, value in read)
        for p in w.read:
            for o in range(w.start[p], w.stop[p]):
                ms, key, _ = rows.messages[p][o]
                if key is None:
                    found[w.number][0][p, o] = Outcome.NO_KEY
                    continue
                positive, first = False, Outcome.NEGATIVE
                for v in windows[w.number - windows[0].number :]:
                    low = v.labels.first if v is w else v.labels.new
                    if v is not w and (not late_policy or o < v.labels.rows[p]):
                        continue
                    ages = [t - ms for q, n, t, _ in by_key[key] if within(low, v.labels.stop, q, n)]
                    in_time = [age for age in ages if 0 <= age <= 1000 * WAIT]
                    of_v = found[v.number][2]
                    of_v["before"] += sum(age < 0 for age in ages)
                    of_v["late"] += sum(age > 1000 * WAIT for age in ages)
                    of_v["joined"] += bool(in_time) and not positive
                    of_v["twice"] += len(in_time) - (bool(in_time) and not positive)
                    if in_time and not positive:
                        positive = True
                        if v is w and any(age <= 1000 * times for age in in_time):
                            first = Outcome.POSITIVE
                        elif late_policy:
                            found[v.number][1].add((p, o))
                found[w.number][0][p, o] = first
    return found


def check(found, wanted, rows):
    assert found.keys() == wanted.keys()
    for number, (of, counts) in found.items():
        first, late, wanted_counts = wanted[number]
        assert {(p, o): outcome for p, o, outcome, _ in of if outcome != Outcome.LATE} == first
        once_more = [(p, o) for p, o, outcome, _ in of if outcome == Outcome.LATE]
        assert sorted(once_more) == sorted(late)
        assert len(of) == len(first) + len(late)
        assert {name: counts.get(name, 0) for name in COUNTED} == {name: wanted_counts[name] for name in COUNTED}
        for p, o, _, message in of:
            assert message == (rows.messages[p][o][2] or b"")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(8))
def test_labels_late_rows_and_counts_are_those_of_all_pairs(seed, policy, tmp_path):
    draw = random.Random(seed)
    rows, outcomes = draw_stream(draw, disorder=draw.choice([0, 0, 20]))
    planned = plan(draw, rows, outcomes, policy)
    wanted = by_all_pairs(policy, planned, rows, outcomes)
    found = learned(make_join(policy, rows, outcomes, tmp_path, planned=planned), planned, rows)
    check(found, wanted, rows)
    assert sum(len(late) for _, late, _ in wanted.values()) > 5 or policy == "wait"


@pytest.mark.parametrize("seed", range(8))
def test_a_row_that_has_waited_has_the_label_of_all_outcomes_that_there_are(seed, tmp_path):
    """Whatever the windows' ranges are, and though both topics are out of order by a fifth of the wait."""
    draw = random.Random(100 + seed)
    rows, outcomes = draw_stream(draw, disorder=draw.choice([0, 20]))
    planned = plan(draw, rows, outcomes, "wait")
    found = learned(make_join("wait", rows, outcomes, tmp_path, planned=planned), planned, rows)
    came = collections.defaultdict(list)
    for ms, key, value in (message for of in outcomes.messages for message in of):
        if value == b"1":
            came[key].append(ms)
    seen = [row for of, _ in found.values() for row in of]
    for p, o, outcome, _ in seen:
        ms, key, _ = rows.messages[p][o]
        wanted = -1 if key is None else int(any(0 <= at - ms <= 1000 * WAIT for at in came[key]))
        assert outcome == wanted, (p, o)
    assert len({row[:2] for row in seen}) == len(seen) > 100


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(4))
def test_who_begins_at_any_window_goes_on_as_who_never_stopped(seed, policy, tmp_path):
    draw = random.Random(200 + seed)
    rows, outcomes = draw_stream(draw, number=250, disorder=draw.choice([0, 20]))
    planned = plan(draw, rows, outcomes, policy)
    whole = learned(make_join(policy, rows, outcomes, tmp_path, planned=planned), planned, rows)
    for cut in draw.sample(range(1, len(planned)), 4):
        join = make_join(policy, rows, outcomes, tmp_path, most=draw.choice([0, 20, 1000]), planned=planned)
        assert learned(join, planned[cut:], rows) == {n: of for n, of in whole.items() if n >= cut}


@pytest.mark.parametrize("policy", POLICIES)
def test_memory_changes_nothing(policy, tmp_path):
    draw = random.Random(300)
    rows, outcomes = draw_stream(draw)
    planned = plan(draw, rows, outcomes, policy)
    found = [learned(make_join(policy, rows, outcomes, tmp_path, most, planned), planned, rows) for most in (0, 10, 100_000)]
    assert found[0] == found[1] == found[2]


def one_partition(rows, outcomes):
    """Rows and outcomes by (seconds, key, value), from -1000 seconds on."""
    made = [[(round(1000 * (1_000_000 - 1000 + s)), *rest) for s, *rest in messages] for messages in (rows, outcomes)]
    return Messages("rows", made[0]), Messages("outcomes", made[1])


def window(number, start, stop, first, new, until, rows=None, known=0):
    return Window(
        number, (start,), (stop,), "rows", Labels((first,), (new,), (until,), (start if rows is None else rows,), (known,))
    )


def test_late_rows_stand_among_the_others_of_their_window(tmp_path):
    number = 200
    rows, outcomes = one_partition(
        [(n / 10, b"k%d" % n, b"row%d" % n) for n in range(2 * number)],
        [(20 + n / 100, b"k%d" % n, b"1") for n in range(0, number, 4)],
    )
    planned = [window(0, 0, number, 0, 0, 0), window(1, number, 2 * number, 0, 0, number // 4, rows=0)]
    found = learned(make_join("fnw", rows, outcomes, tmp_path), planned, rows)
    outcome = [o for *_, o, _ in found[1][0]]
    assert sum(o == Outcome.LATE for o in outcome) == number // 4
    places = np.flatnonzero(np.array(outcome) == Outcome.LATE)
    assert set(np.diff(places)) <= {4, 5, 6}
    assert places[0] < 6


def test_a_row_whose_outcome_is_there_already_is_learned_from_twice_in_its_window(tmp_path):
    """As where a run catches up: first as a negative, and behind that as a positive."""
    rows, outcomes = one_partition([(0, b"a", b"row"), (1, b"b", b"other")], [(5, b"a", b"1"), (50, b"b", b"1")])
    planned = [window(0, 0, 2, 0, 0, 2)]
    found, counts = learned(make_join("es_dfm", rows, outcomes, tmp_path), planned, rows)[0]
    assert [(o, outcome) for _, o, outcome, _ in found] == [(0, Outcome.POSITIVE), (1, Outcome.NEGATIVE), (1, Outcome.LATE)]
    assert counts["joined"] == 2
    found, counts = learned(make_join("fnw", rows, outcomes, tmp_path), planned, rows)[0]
    assert [outcome for *_, outcome, _ in found] == [Outcome.NEGATIVE, Outcome.NEGATIVE, Outcome.LATE, Outcome.LATE]
    assert counts["joined"] == 2


def test_late_rows_come_in_a_window_that_reads_no_row_too(tmp_path):
    rows, outcomes = one_partition([(0, b"a", b"row")], [(5, b"a", b"1")])
    planned = [window(0, 0, 1, 0, 0, 0), window(1, 1, 1, 0, 0, 1, rows=0)]
    found = learned(make_join("fnw", rows, outcomes, tmp_path), planned, rows)
    assert found[1][0] == [(0, 0, Outcome.LATE, b"row")]


def test_the_bounds_of_what_is_in_time(tmp_path):
    ages = [-0.001, 0, WAIT, WAIT + 0.001]
    rows, outcomes = one_partition(
        [(0, b"k%d" % i, b"row") for i in range(4)], [(age, b"k%d" % i, b"1") for i, age in enumerate(ages)]
    )
    found, counts = learned(make_join("wait", rows, outcomes, tmp_path), [window(0, 0, 4, 0, 0, 4)], rows)[0]
    assert [outcome for *_, outcome, _ in found] == [0, 1, 1, 0]
    assert counts == {"read": 4, "unreadable": 0, "negative": 0, "before": 1, "late": 1, "joined": 2, "twice": 0}


def test_a_tombstone_is_no_row_that_an_outcome_could_bring_back(tmp_path):
    """Without a key, as RowFields has it: an empty message may be a row to a format."""
    rows, outcomes = one_partition([(0, None, None), (0, b"b", b"row")], [(5, b"a", b"1"), (5, b"b", b"1")])
    planned = [window(0, 0, 2, 0, 0, 0), window(1, 2, 2, 0, 0, 2, rows=0)]
    found = learned(make_join("fnw", rows, outcomes, tmp_path), planned, rows)
    assert [row[1] for row in found[1][0]] == [1]


# What is no longer there


def gone_world():
    rows, outcomes = one_partition(
        [(n, b"k%d" % n, b"row%d" % n) for n in range(20)], [(n + 1, b"k%d" % n, b"1") for n in range(20)]
    )
    planned = [window(0, 0, 10, 0, 0, 5), window(1, 10, 20, 0, 5, 20, rows=0)]
    return rows, outcomes, planned


@pytest.mark.parametrize("policy", ["wait", "fnw"])
def test_outcomes_of_a_journalled_window_that_are_gone_end_the_run(policy, tmp_path):
    rows, outcomes, planned = gone_world()
    outcomes.first = [7]
    join = make_join(policy, rows, outcomes, tmp_path)
    with pytest.raises(UserError, match=r"what is needed are no longer in outcomes .*partition 0: from 0") as e:
        list(join.begin(planned[1]))
    assert e.value.code == 66


def test_or_all_that_is_left_is_read(tmp_path):
    rows, outcomes, planned = gone_world()
    outcomes.messages += ([(1_000_000_000 - 985_000, b"k15", b"1")],)
    outcomes.times.append([t for t, *_ in outcomes.messages[1]])
    outcomes.begins()  # a look finds the partition
    outcomes.first, said = [13, 0], []
    labels = Labels((0, 0), (5, 0), (20, 1), (0,), (0, 0))
    planned = [Window(1, (10,), (20,), "rows", labels)]
    join = make_join("wait", rows, outcomes, tmp_path, on_lost="skip", say=said.append)
    found, counts = learned(join, planned, rows)[1]
    assert [o for _, o, outcome, _ in found if outcome] == list(range(13, 20))
    assert counts["read"] == 8
    assert len(said) == 2  # of those that were read before, and of the new ones
    assert said[0].startswith("warning: what is needed are no longer in outcomes")


@pytest.mark.parametrize("on_lost", ["fail", "skip"])
def test_rows_that_an_outcome_may_still_come_for_and_that_are_gone(on_lost, tmp_path):
    rows, outcomes, planned = gone_world()
    rows.first, said = [8], []
    join = make_join("fnw", rows, outcomes, tmp_path, on_lost=on_lost, say=said.append)
    if on_lost == "fail":
        with pytest.raises(UserError, match="what is needed are no longer in rows") as e:
            list(join.begin(planned[1]))
        assert e.value.code == 66
        return
    found, _ = learned(join, planned[1:], rows)[1]
    late = sorted(o for _, o, outcome, _ in found if outcome == Outcome.LATE)
    assert late == [8, 9, *range(10, 20)]
    assert len(said) == 1


def test_what_is_gone_behind_the_end_of_a_topic_is_no_endless_wait(tmp_path):
    """Where a broker says that an offset is out of range and the topic does not begin behind it, either."""
    rows, outcomes, planned = gone_world()
    join = make_join("wait", rows, outcomes, tmp_path, on_lost="skip")
    join._outcomes_gone = lambda ranges: [0]
    outcomes.first = [7]
    join._reader.first = [7]
    with pytest.raises(RowsGone):
        list(join.begin(planned[1]))


def test_ranges_without_those_of_windows():
    passed = [Window(1, (10, 0), (20, 5), "skip"), Window(3, (30, 5), (40, 5), "lost")]
    assert _without({0: (0, 50), 1: (2, 9)}, passed) == [{0: (0, 10), 1: (5, 9)}, {0: (20, 30)}, {0: (40, 50)}]
    assert _without({0: (15, 35)}, passed) == [{0: (20, 30)}]
    assert _without({2: (1, 4)}, passed) == [{2: (1, 4)}]
    assert _without({0: (12, 18)}, passed) == []
