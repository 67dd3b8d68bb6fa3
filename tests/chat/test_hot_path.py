"""Every statement to Postgres and every round trip to Redis of one question, by name (docs/chat.md shows the list).

A new one is to be wanted, not to creep in: whoever adds one changes these lists.
"""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from redis.connection import Connection

from chat import tasks
from tenants.services import usage

pytestmark = pytest.mark.django_db(transaction=True)

ACCEPTED = [
    "select tenants_apikey",
    "begin",
    "select tenants_enduser",
    "insert chat_conversation",  # and in one round trip the message
    "insert tenants_dailycounter",
    "insert tenants_usageentry",
    "commit",
    "insert tasks_api_taskrun",
]
CLAIMED = ["select chat_message"]  # locks the tenant's room; with it, in one round trip, the claim and what it needs
SEARCHED = [
    "select knowledge_knowledgeversion",
    "select chat_cachedanswer",
    "select tenant_knowledge",  # by words
    "select knowledge_searchmodel",
    "select tenant_knowledge",  # by meaning
    "select tenant_knowledge",  # the passages themselves
]
CLOSED = [
    "begin",
    "update chat_message",
    "update tenants_usageentry",
    "select tenants_webhookendpoint",
    "update chat_message",  # what the model has used and cost; with it, in one round trip, the tenant's day
    "commit",
    "begin",
    "insert chat_cachedanswer",
    "commit",
    "select chat_message",  # whom the tenant's room held back
]
UPKEEP = {"PING", "HELLO", "CLIENT", "SELECT"}  # of a connection, now and then
_PREPARED = re.compile(r"EXECUTE ([a-z]+)_([a-z_]+)_\d+")  # as core.postgres.prepared names them
_TABLE = re.compile(r'\b(?:FROM|INTO|UPDATE)\s+"?((?:chat|tenants?|knowledge|tasks_api)_\w+)"?')


@pytest.fixture
def asked_before(client, api_key, use_model, monkeypatch):
    """One question is answered already: the asker is known, connections and scripts are there."""
    use_model("good")
    monkeypatch.setattr(usage, "statistics_bell", usage.Bell())  # rung for once, not for the question that is counted
    monkeypatch.setattr("chat.answering.caching.may_keep", lambda _passages: True)  # as if the site had its vectors
    answer(ask(client, api_key, 0))


def ask(client, api_key, number):
    response = client.post(
        "/api/v1/query/",
        {"question": f"Within how many days can I return item {number}?", "user_id": "u1"},
        content_type="application/json",
        headers={"X-API-Key": api_key, "Prefer": "respond-async"},
    )
    assert response.status_code == 202
    return response.json()["message_id"]


def answer(message_id):
    tasks.answer_message_task(message_id=message_id)


def named(queries):
    return [_name(query["sql"].strip()) for query in queries.captured_queries]


def _name(sql):
    if sql in ("BEGIN", "COMMIT"):
        return sql.lower()
    if prepared := _PREPARED.search(sql):
        return " ".join(prepared.groups())
    table = _TABLE.search(sql)
    assert table, sql
    verbs = ["UPDATE"] if sql.startswith("UPDATE") else ["INSERT", "UPDATE", "SELECT"]
    verb = next(verb for verb in verbs if verb in sql).lower()
    return f"{verb} {table[1]}"


@pytest.fixture
def redis_commands(monkeypatch):
    """The first command of each round trip to Redis."""
    sent = []
    real = Connection.send_packed_command

    def send(self, command, *args, **kwargs):
        packed = command if isinstance(command, bytes) else b"".join(command)
        if (name := packed.split(b"\r\n")[2].decode()) not in UPKEEP:
            sent.append(name)
        return real(self, command, *args, **kwargs)

    monkeypatch.setattr(Connection, "send_packed_command", send)
    return sent


@pytest.mark.usefixtures("site", "redis_client", "asked_before")
def test_accepting_a_question_takes_eight_statements_and_three_round_trips_to_redis(
    client, api_key, redis_commands, settings
):
    settings.CHAT_WAITING_MAX = 40
    with CaptureQueriesContext(connection) as queries:
        ask(client, api_key, 1)

    assert named(queries) == ACCEPTED
    assert redis_commands[-1] == "LPUSH"  # the doorbell; before it the key's rate and a place among those that wait
    assert set(redis_commands[:-1]) <= {"EVALSHA", "EVAL", "SCRIPT"}


@pytest.mark.usefixtures("site", "redis_client", "asked_before")
def test_answering_takes_a_claim_a_search_and_one_transaction_at_the_end(client, api_key, redis_commands):
    message_id = ask(client, api_key, 1)
    redis_commands.clear()

    with CaptureQueriesContext(connection) as queries:
        answer(message_id)

    assert named(queries) == [*CLAIMED, *SEARCHED, *CLOSED]
    # "searching", the first words by themselves unless the end came with them, the end
    assert redis_commands.count("XADD") in (2, 3)
    assert set(redis_commands) == {"XADD"}
