"""Requests that wait are scored together, each gets its own rows back, and what is wrong with one is not the others' matter."""

import asyncio
import threading
import types

import numpy as np
import pytest

from tfonline.serving.batching import Batcher, NotServed, Overloaded


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
        return {"y": np.array(inputs["x"])}


@pytest.fixture
def model():
    return FakeModel()


@pytest.fixture
def scored():
    return []


@pytest.fixture
def batcher(model, scored):
    batcher = Batcher(types.SimpleNamespace(current=model), 10, 20, 1, scored.append)
    yield batcher
    batcher.close()


def ask(batcher, rows, signature="s", **more):
    return asyncio.ensure_future(batcher.score(signature, {"x": rows}, len(rows), **more))


async def begin(model, first):
    """Waits until the first request is being scored."""
    await asyncio.to_thread(model.begun.wait, 10)
    assert not first.done()


def test_what_comes_meanwhile_is_scored_together(batcher, model, scored):
    async def story():
        first = ask(batcher, [0])
        await begin(model, first)
        others = [ask(batcher, [i] * i) for i in (1, 2, 3, 4, 5)]
        await asyncio.sleep(0)
        model.go.set()
        return [outputs["y"].tolist() for _, outputs in await asyncio.gather(first, *others)]

    assert asyncio.run(story()) == [[0], [1], [2] * 2, [3] * 3, [4] * 4, [5] * 5]
    # At most ten rows together; what does not fit waits for the next.
    assert [rows for _, rows in model.batches] == [[0], [1, 2, 2, 3, 3, 3, 4, 4, 4, 4], [5] * 5]
    assert scored == [1, 10, 5]
    assert batcher.waiting_rows == 0


def test_signatures_do_not_mix_and_the_oldest_goes_first(batcher, model):
    async def story():
        first = ask(batcher, [0])
        await begin(model, first)
        others = [ask(batcher, [1], "a"), ask(batcher, [2], "b"), ask(batcher, [3], "a"), ask(batcher, [4], "b")]
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(first, *others)

    asyncio.run(story())
    assert model.batches == [("s", [0]), ("a", [1, 3]), ("b", [2, 4])]


def test_a_request_above_the_limit_goes_alone(batcher, model):
    model.go.set()

    async def story():
        _, outputs = await ask(batcher, list(range(30)))
        return outputs["y"].tolist()

    assert asyncio.run(story()) == list(range(30))


def test_too_many_waiting_rows_are_refused_and_it_recovers(batcher, model):
    async def story():
        first = ask(batcher, [0])
        await begin(model, first)
        waiting = [ask(batcher, [1] * 10), ask(batcher, [2] * 10)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="20 rows are waiting, at most 20"):
            await ask(batcher, [3])
        model.go.set()
        await asyncio.gather(first, *waiting)
        return (await ask(batcher, [4]))[1]["y"].tolist()

    assert asyncio.run(story()) == [4]


def test_an_error_reaches_those_of_its_batch_and_nobody_else(batcher, model):
    async def story():
        model.go.set()
        model.error = RuntimeError("out of memory")
        with pytest.raises(RuntimeError, match="out of memory"):
            await ask(batcher, [1])
        model.error = None
        return (await ask(batcher, [2]))[1]["y"].tolist()

    assert asyncio.run(story()) == [2]


def test_who_asks_for_a_version_gets_it_or_is_told(batcher, model):
    async def story():
        model.go.set()
        served, _ = await ask(batcher, [1], version=1)
        assert served is model
        with pytest.raises(NotServed, match="version 2 is not served, version 1 is"):
            await ask(batcher, [1], version=2)

    asyncio.run(story())


def test_without_a_version_there_is_no_answer(scored):
    batcher = Batcher(types.SimpleNamespace(current=None), 10, 20, 1, scored.append)

    async def story():
        with pytest.raises(NotServed, match="no version"):
            await ask(batcher, [1])

    asyncio.run(story())
    batcher.close()


def test_a_client_that_left_is_nobodys_matter(batcher, model):
    async def story():
        first = ask(batcher, [0])
        await begin(model, first)
        gone, stays = ask(batcher, [1]), ask(batcher, [2])
        await asyncio.sleep(0)
        gone.cancel()
        model.go.set()
        return (await stays)[1]["y"].tolist()

    assert asyncio.run(story()) == [2]


def test_a_request_is_answered_by_one_model_while_they_are_exchanged(scored):
    models = types.SimpleNamespace(current=FakeModel(1))
    batcher = Batcher(models, 10, 100, 1, scored.append)

    async def story():
        old, new = models.current, FakeModel(2)
        new.go.set()
        first = ask(batcher, [0])
        await begin(old, first)
        second = ask(batcher, [1])
        models.current = new
        old.go.set()
        return [(await request)[0].number for request in (first, second)]

    assert asyncio.run(story()) == [1, 2]
    batcher.close()
