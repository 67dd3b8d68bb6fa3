import asyncio
import uuid

import pytest

from chat import bells, stream

DEADLINE_SECONDS = 10


@pytest.fixture(autouse=True)
def never_looks(monkeypatch):
    """Rows are not looked at during the test: whoever wakes was woken by a bell."""
    monkeypatch.setattr(bells, "LOOK_EVERY_SECONDS", 60.0)


async def until(condition):
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def wait_for_a_bell(redis_client):
    message_id = uuid.uuid4()
    channel = stream.bell_of(message_id)
    async with bells.bells().waiting(message_id) as waiter:
        await until(lambda: redis_client.pubsub_numsub(channel)[0][1] == 1)
        while await waiter.wait(0.1):  # what subscribing rang
            pass
        await asyncio.to_thread(stream.append, message_id, [("status", 1, {"state": "searching"})])
        assert await waiter.wait(DEADLINE_SECONDS)


def is_listening():
    return any(task.get_coro().__name__ == "_listen" for task in asyncio.all_tasks())


async def test_a_bell_still_wakes_the_next_after_all_had_left_and_the_listener_ended(redis_client):
    await wait_for_a_bell(redis_client)
    await until(lambda: not is_listening())

    await wait_for_a_bell(redis_client)


async def test_a_bell_wakes_who_comes_right_after_the_last_had_left(redis_client):
    for _ in range(5):
        await wait_for_a_bell(redis_client)
