"""Many answers on one event loop: their text reaches Redis together."""

import asyncio
import threading
import uuid

import pytest
from redis import ConnectionError as RedisConnectionError

from chat import flushing, stream
from chat.pulse import pulse


@pytest.fixture
def round_trips(monkeypatch):
    """What was written, by round trip; an entry of ``failures`` makes the next one fail."""
    written, failures = [], []

    def append_all(entries_of):
        if failures:
            raise failures.pop()
        written.append({key: [(name, data) for name, _attempt, data in entries] for key, entries in entries_of.items()})
        return lost & set(entries_of)

    lost = set()
    monkeypatch.setattr(flushing, "append_all", append_all)
    return written, failures, lost


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_text_of_all_answers_goes_out_in_one_round_trip(round_trips):
    written, _failures, _lost = round_trips
    writers = [stream.Writer(uuid.uuid4(), 1) for _ in range(50)]
    flusher = flushing.flusher()
    async with asyncio.TaskGroup() as group, flusher.following(writers[0]):
        for writer in writers[1:]:
            group.create_task(follow_until_written(flusher, writer))
        await asyncio.sleep(0)
        for writer in writers:
            writer.delta("one ")
            writer.delta("two")
        await until(lambda: written)

    assert written == [{writer.message_id: [("delta", {"text": "one two"})] for writer in writers}]
    assert not pulse()._listeners


async def follow_until_written(flusher, writer):
    async with flusher.following(writer):
        await asyncio.sleep(0)
        await until(lambda: not writer.has_waiting)


async def test_text_that_redis_missed_is_written_again_from_the_beginning(round_trips, monkeypatch):
    monkeypatch.setattr(stream, "RETRY_SECONDS", 0)
    written, failures, _lost = round_trips
    failures.append(RedisConnectionError())
    writer = stream.Writer(uuid.uuid4(), 1)
    async with flushing.flusher().following(writer):
        writer.delta("lost ")
        await until(lambda: not failures)
        writer.delta("found")
        await until(lambda: written)

    assert written == [{writer.message_id: [("reset", {}), ("delta", {"text": "lost found"})]}]


async def test_text_whose_stream_redis_lost_is_written_again_at_the_next_beat(round_trips):
    written, _failures, lost = round_trips
    writer = stream.Writer(uuid.uuid4(), 1)
    lost.add(writer.message_id)
    async with flushing.flusher().following(writer):
        writer.delta("lost")
        await until(lambda: written)
        lost.clear()
        await until(lambda: len(written) > 1)

    assert written[1] == {writer.message_id: [("reset", {}), ("delta", {"text": "lost"})]}


async def test_a_first_word_goes_out_right_after_the_round_trip_that_was_on_its_way(monkeypatch):
    monkeypatch.setattr("chat.pulse.BEAT_MAX_SECONDS", 60.0)  # no beat comes during the test
    monkeypatch.setattr("chat.pulse.BEAT_SECONDS", 60.0)
    may_end, written = threading.Event(), []

    def append_all(entries_of):
        written.append([data for entries in entries_of.values() for _name, _attempt, data in entries])
        may_end.wait(10)
        return set()

    monkeypatch.setattr(flushing, "append_all", append_all)
    writers = [stream.Writer(uuid.uuid4(), 1) for _ in range(2)]
    flusher = flushing.flusher()
    async with flusher.following(writers[0]), flusher.following(writers[1]):
        for writer in writers:
            writer.delta("first")
            flusher.flush()
            await until(lambda: written)
        may_end.set()
        await until(lambda: len(written) > 1)

    assert written == [[{"text": "first"}]] * 2
