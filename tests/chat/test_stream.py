import asyncio
from contextlib import aclosing

import pytest
from asgiref.sync import sync_to_async
from redis import ConnectionError as RedisConnectionError

from chat import following, readers, services, stream, working
from chat.models import Message
from core.states import State

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def message(tenant, rung):
    return services.ask(tenant=tenant, question="How?", user_id="u")


def entries(message):
    from core.redis import client

    return [(fields["event"], fields["attempt"]) for _id, fields in client().xrange(stream.key_of(message.pk))]


def begun_writer(message):
    writer = stream.Writer(message.pk, 1)
    writer.status("searching")
    writer.flush()
    return writer


async def names_and_texts(message, **kwargs):
    return [(event.name, event.data.get("text", "")) async for event in following.follow(message, **kwargs) if event]


def test_text_is_written_in_portions_and_nothing_is_lost(message):
    writer = begun_writer(message)
    writer.delta("first ")
    writer.flush()
    for word in ("second ", "third"):
        writer.delta(word)
    writer.end("done", {"answer": writer.text})

    assert [name for name, _attempt in entries(message)] == ["status", "delta", "delta", "done"]
    assert writer.text == "first second third"


def test_a_stream_expires_and_stays_bounded(message):
    from core.redis import client

    writer = stream.Writer(message.pk, 1)
    writer.status("searching")
    writer.flush()

    assert 0 < client().ttl(stream.key_of(message.pk)) <= stream.KEEP_SECONDS


def test_a_second_attempt_begins_with_a_reset(message):
    writer = stream.Writer(message.pk, 2)
    writer.delta("again")
    writer.flush()

    assert entries(message) == [("reset", "2"), ("delta", "2")]


def test_when_redis_comes_back_the_whole_text_is_written_again(message, monkeypatch):
    away = True
    real = stream.append

    def append(*args):
        if away:
            raise RedisConnectionError
        return real(*args)

    monkeypatch.setattr(stream, "append", append)
    monkeypatch.setattr(stream, "RETRY_SECONDS", 0)
    writer = stream.Writer(message.pk, 1)
    writer.delta("lost ")
    writer.flush()
    away = False
    writer.delta("found")
    writer.end("done", {})

    assert [name for name, _attempt in entries(message)] == ["reset", "delta", "done"]
    assert asyncio.run(names_and_texts(message))[1] == ("delta", "lost found")


@pytest.mark.parametrize("is_end", [False, True], ids=["in the middle", "at the end"])
def test_a_stream_that_redis_lost_begins_anew_with_the_whole_text(message, is_end):
    from core.redis import client

    writer = begun_writer(message)
    writer.delta("before ")
    writer.flush()
    client().delete(stream.key_of(message.pk))
    writer.delta("after")
    writer.end("done", {}) if is_end else writer.flush()

    assert [name for name, _attempt in entries(message)] == ["reset", "delta"] + ["done"] * is_end
    assert writer.text == "before after"


async def test_a_reader_sees_what_was_written_before_and_after_it_came(message):
    writer = await sync_to_async(begun_writer)(message)
    writer.delta("before ")
    await sync_to_async(writer.flush)()
    reading = asyncio.create_task(names_and_texts(message))
    await asyncio.sleep(0.05)
    await sync_to_async(writer.end)("done", {})

    async with asyncio.timeout(10):
        assert await reading == [("status", ""), ("delta", "before "), ("done", "")]


async def test_a_hundred_readers_share_few_connections(message, redis_connections):
    before = await redis_connections()
    reading = [asyncio.create_task(names_and_texts(message)) for _ in range(100)]
    await asyncio.sleep(0.5)

    assert await redis_connections() - before <= 2
    await sync_to_async(stream.append_end)(message.pk, 1, "done", {})
    async with asyncio.timeout(20):
        assert await asyncio.gather(*reading) == [[("reset", ""), ("done", "")]] * 100
    assert readers.readers()._readers == set()


@pytest.fixture
def redis_connections():
    from core.redis import client

    async def count():
        return len(await sync_to_async(client().client_list)())

    return count


async def test_without_redis_the_answer_still_comes_from_the_row(message, monkeypatch):
    def away():
        raise RedisConnectionError

    monkeypatch.setattr(readers, "client", away)
    monkeypatch.setattr(readers, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(readers, "LOOK_EVERY_SECONDS", 0.05)
    reading = asyncio.create_task(names_and_texts(message))
    waiting = asyncio.create_task(following.wait_for_end(message))
    await asyncio.sleep(0.1)
    await Message.objects.aupdate(state=State.DONE, answer="The answer.", finish_reason="answered")

    async with asyncio.timeout(10):
        assert await reading == [("reset", ""), ("delta", "The answer."), ("done", "")]
        assert (await waiting)["answer"] == "The answer."


async def test_an_end_that_was_never_written_costs_a_moment_not_the_answer(message, monkeypatch):
    monkeypatch.setattr(readers, "LOOK_EVERY_SECONDS", 0.05)
    reading = asyncio.create_task(names_and_texts(message))
    await asyncio.sleep(0.1)
    await Message.objects.aupdate(state=State.DONE, answer="The answer.", finish_reason="answered")

    async with asyncio.timeout(10):
        assert (await reading)[-1] == ("done", "")


async def test_connections_of_readers_that_are_cut_are_made_again(message, site):
    from core.redis import client

    reading = asyncio.create_task(names_and_texts(message))
    await asyncio.sleep(0.2)
    for connection in await sync_to_async(client().client_list)():
        if connection["cmd"].startswith("xread"):
            await sync_to_async(client().client_kill_filter)(_id=connection["id"])
    await sync_to_async(answer)(message)

    async with asyncio.timeout(10):
        assert (await reading)[-1][0] == "done"


def answer(message):
    working.work(Message.objects.claim(message.pk))


async def test_a_long_silence_shows_a_sign_of_life(message, monkeypatch):
    monkeypatch.setattr(readers, "SILENCE_SECONDS", 0.05)

    async with asyncio.timeout(10), aclosing(following.follow(message)) as events:
        assert await anext(events) is None


@pytest.mark.parametrize("given", [None, "", "x", "1", "1-2-3", "-1", "٣-٤", "1-2\r\nevil", "9" * 30 + "-1"])
def test_a_last_event_id_that_is_none_begins_at_the_beginning(given):
    assert following.position(given) == following.BEGINNING
    assert following.position("1700000000000-5") == "1700000000000-5"
