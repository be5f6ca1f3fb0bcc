"""Requests that wait are scored together, each gets its own rows back, and what is wrong with one is not the others' matter."""

import asyncio
import threading

import numpy as np
import pytest

from tfonline.deltas.weights import At
from tfonline.serving.batching import Batcher, Closed, Overloaded
from tfonline.serving.models import Scored


class FakeModel:
    """Its score of a row is the row; it keeps the batches, and waits for `go`."""

    def __init__(self, number=1):
        self.number, self.batches, self.go, self.begun = number, [], threading.Event(), threading.Event()
        self.error = None

    def score(self, signature, inputs):
        self.begun.set()
        assert self.go.wait(10)
        self.batches.append((signature, inputs["x"]))
        if self.error:
            raise self.error
        return Scored({"y": np.array(list(inputs["x"]))}, At(self.number))


@pytest.fixture
def model():
    return FakeModel()


@pytest.fixture
def scored():
    return []


@pytest.fixture
def batcher(scored):
    batcher = Batcher(10, 30, 1, scored.append)
    yield batcher
    batcher.close()


@pytest.fixture
def ask(batcher, model):
    def ask(rows, signature="s", model=model):
        return asyncio.ensure_future(batcher.score(model, signature, {"x": rows}, len(rows)))

    return ask


async def begin(model, first):
    """Waits until the first request is being scored."""
    await asyncio.to_thread(model.begun.wait, 10)
    assert not first.done()


def test_what_comes_meanwhile_is_scored_together(ask, batcher, model, scored):
    async def story():
        first = ask([0])
        await begin(model, first)
        others = [ask([i] * i) for i in (1, 2, 3, 4, 5)]
        await asyncio.sleep(0)
        model.go.set()
        return [outputs["y"].tolist() for outputs in await asyncio.gather(first, *others)]

    assert asyncio.run(story()) == [[0], [1], [2] * 2, [3] * 3, [4] * 4, [5] * 5]
    # At most ten rows together; what does not fit waits for the next.
    assert [rows for _, rows in model.batches] == [[0], [1, 2, 2, 3, 3, 3, 4, 4, 4, 4], [5] * 5]
    assert scored == [1, 10, 5]
    assert batcher.waiting_rows == 0


def test_signatures_do_not_mix_and_the_oldest_goes_first(ask, model):
    async def story():
        first = ask([0])
        await begin(model, first)
        others = [ask([1], "a"), ask([2], "b"), ask([3], "a"), ask([4], "b")]
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(first, *others)

    asyncio.run(story())
    assert model.batches == [("s", [0]), ("a", [1, 3]), ("b", [2, 4])]


def test_a_request_above_the_limit_goes_alone(ask, model):
    model.go.set()

    async def story():
        return (await ask(list(range(30))))["y"].tolist()

    assert asyncio.run(story()) == list(range(30))


def test_too_many_waiting_rows_are_refused_and_it_recovers(ask, model):
    async def story():
        first = ask([0])
        await begin(model, first)
        waiting = [ask([1] * 10), ask([2] * 20)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="30 rows are waiting; 1 more are above 30"):
            await ask([3])
        model.go.set()
        await asyncio.gather(first, *waiting)
        return (await ask([4]))["y"].tolist()

    assert asyncio.run(story()) == [4]


def test_serialised_inputs_go_alone(ask, batcher, model):
    """They are not joined by Python, which would have to read them first."""

    async def story():
        first = ask([0])
        await begin(model, first)
        others = [ask([1]), ask(b"ab"), ask([3]), ask(b"cd"), ask(b"ef")]
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(first, *others)

    asyncio.run(story())
    assert model.batches == [("s", [0]), ("s", [1, 3]), ("s", b"ab"), ("s", b"cd"), ("s", b"ef")]
    assert batcher.waiting_rows == 0


def test_an_error_reaches_those_of_its_batch_and_nobody_else(ask, model):
    async def story():
        model.go.set()
        model.error = RuntimeError("out of memory")
        with pytest.raises(RuntimeError, match="out of memory"):
            await ask([1])
        model.error = None
        return (await ask([2]))["y"].tolist()

    assert asyncio.run(story()) == [2]


def test_a_request_that_is_too_large_by_itself_is_refused(ask):
    async def story():
        with pytest.raises(Overloaded, match="31 more are above 30"):
            await ask([0] * 31)

    asyncio.run(story())


def test_what_waits_when_the_server_ends_is_told(ask, batcher, model):
    async def story():
        first = ask([0])
        await begin(model, first)
        second = ask([1])
        await asyncio.sleep(0)
        batcher.close()
        with pytest.raises(Closed):
            await second
        model.go.set()
        return (await first)["y"].tolist()

    assert asyncio.run(story()) == [0]


def test_a_client_that_left_is_nobodys_matter(ask, model):
    async def story():
        first = ask([0])
        await begin(model, first)
        gone, stays = ask([1]), ask([2])
        await asyncio.sleep(0)
        gone.cancel()
        model.go.set()
        return (await stays)["y"].tolist()

    assert asyncio.run(story()) == [2]


def test_requests_of_two_models_do_not_mix(ask, model):
    """A version came between them: each is scored by the one that it was read for, whatever inputs the other has."""
    other = FakeModel(2)
    other.go.set()

    async def story():
        first = ask([0])
        await begin(model, first)
        second, third, fourth = ask([1]), ask([2], model=other), ask([3])
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(first, second, third, fourth)

    asyncio.run(story())
    assert model.batches == [("s", [0]), ("s", [1, 3])]
    assert other.batches == [("s", [2])]
