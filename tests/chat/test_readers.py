import asyncio
import uuid

import pytest

from chat import readers, stream

DEADLINE_SECONDS = 10
BEGINNING = "0-0"


@pytest.fixture(autouse=True)
def never_looks(monkeypatch):
    """Rows are not looked at during the test: whatever comes was read from Redis."""
    monkeypatch.setattr(readers, "LOOK_EVERY_SECONDS", 60.0)


async def write(message_id, *texts):
    await asyncio.to_thread(stream.append, message_id, [("status", 1, {"text": text}) for text in texts])


async def read(message_id, after=BEGINNING, count=1):
    """Return the texts of at least ``count`` entries, and the id of the last."""
    texts = []
    with readers.readers().reading(message_id, after=after, is_over=False) as reader:
        while len(texts) < count:
            texts += [fields["data"] for _id, fields in await reader.next()]
    return texts, reader.after


async def test_readers_of_one_stream_each_go_on_from_their_own_place():
    message_id = uuid.uuid4()
    await write(message_id, "a")
    _texts, after_a = await read(message_id)
    await write(message_id, "b")

    whole, rest = await asyncio.gather(read(message_id, count=2), read(message_id, after=after_a))

    assert whole[0] == ['{"text":"a"}', '{"text":"b"}']
    assert rest[0] == ['{"text":"b"}']


async def test_many_streams_are_read_together_and_nobody_gets_anothers_text():
    ids = [uuid.uuid4() for _ in range(50)]
    reading = [asyncio.create_task(read(message_id)) for message_id in ids]
    await asyncio.sleep(0)
    for number, message_id in enumerate(ids):
        await write(message_id, str(number))

    async with asyncio.timeout(DEADLINE_SECONDS):
        texts = [texts for texts, _after in await asyncio.gather(*reading)]
    assert texts == [[f'{{"text":"{number}"}}'] for number in range(50)]


async def test_who_comes_right_after_the_last_had_left_is_served():
    for _ in range(5):
        message_id = uuid.uuid4()
        await write(message_id, "a")
        async with asyncio.timeout(DEADLINE_SECONDS):
            await read(message_id)


async def test_a_reader_of_a_row_that_is_over_learns_that_nothing_more_comes():
    with readers.readers().reading(uuid.uuid4(), after=BEGINNING, is_over=True) as reader:
        assert await reader.next() == []


def test_a_stream_rests_for_half_of_the_pause_between_two_texts(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(readers.time, "monotonic", lambda: now[0])
    reader = readers.Reader(uuid.uuid4(), after=BEGINNING, is_over=False)

    def is_due(at, *, after=None):
        """Tell whether the stream is read at this time, right after an event or without one."""
        now[0] = 1000.0 + at
        if after:
            reader.take([(f"{at}-0", {"event": after})])
        return reader.is_due

    assert is_due(0.0, after="status")
    assert is_due(0.5, after="delta"), "the second text may come at any time"
    assert not is_due(0.7, after="delta")
    assert (is_due(0.79), is_due(0.81)) == (False, True)
    assert not is_due(5.0, after="delta")
    assert is_due(5.01 + readers.REST_MAX_SECONDS)
