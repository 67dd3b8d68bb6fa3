"""Rate limits per key: exact under parallel calls, and still there while Redis is away."""

import threading
from collections import Counter

import pytest
import redis

from tenants import services, throttling
from tenants.errors import RateLimitedError

KEYS = "/api/v1/query/"


@pytest.fixture(autouse=True)
def fresh(redis_client, settings):
    settings.API_RATE_PER_KEY = "60/minute"
    throttling._breaker.close()
    throttling._local.cache_clear()
    yield
    throttling._breaker.close()


def flood(key_id, *, threads=20, calls=10):
    outcomes: Counter[str] = Counter()
    barrier = threading.Barrier(threads)

    def run():
        barrier.wait()
        for _ in range(calls):
            try:
                throttling.hit(key_id)
                outcomes["passed"] += 1
            except RateLimitedError:
                outcomes["refused"] += 1

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return outcomes


def test_exactly_the_limit_passes_of_many_parallel_calls_and_each_key_has_its_own():
    assert flood("one") == {"passed": 60, "refused": 140}
    assert flood("two", threads=1, calls=5) == {"passed": 5}


def test_a_refusal_says_when_to_come_back():
    flood("one", threads=1, calls=60)

    with pytest.raises(RateLimitedError) as refusal:
        throttling.hit("one")

    assert refusal.value.headers["RateLimit-Policy"] == '"api-key";q=60;w=60'
    assert 1 <= int(refusal.value.headers["Retry-After"]) <= 120
    assert refusal.value.headers["RateLimit"] == f'"api-key";r=0;t={refusal.value.headers["Retry-After"]}'


def test_without_redis_a_process_counts_by_itself_and_asks_redis_again_after_a_while(monkeypatch):
    tries = []

    def away(*args, **kwargs):
        tries.append(1)
        raise redis.ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(redis.connection.Connection, "connect", away)
        throttling._shared().storage.get_connection().connection_pool.disconnect()

        assert flood("one", threads=1, calls=70) == {"passed": 60, "refused": 10}
        first = len(tries)
        assert first > 0

        throttling._breaker.close()  # as time does
        flood("one", threads=1, calls=1)
        assert len(tries) == 2 * first  # of many calls only the first asks


@pytest.mark.django_db(transaction=True)
def test_the_api_answers_429_as_a_problem_with_headers(client, settings):
    settings.API_RATE_PER_KEY = "1/minute"
    _key, text = services.create_api_key(tenant=services.create_tenant(slug="acme"), name="server")

    def call():
        return client.post(KEYS, b"{}", content_type="application/json", headers={"X-API-Key": text})

    assert call().status_code == 400
    response = call()
    assert (response.status_code, response["Content-Type"]) == (429, "application/problem+json")
    assert response.json()["code"] == "rate_limited"
    assert response["Retry-After"]
    assert response["RateLimit"]
