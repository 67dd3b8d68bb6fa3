"""From the measured figures to machines: the arithmetic of docs/capacity.md."""

import math
from collections.abc import Mapping

from bench import figures, model_server

USERS = (1000, 5000, 20_000)
PER_USER_SECONDS = 60.0
LOAD = 0.6  # of a core that is planned to be used; the rest is for the minute that is busier than others
PLACES = 500  # answers at once of one process of celery_ai
WEB_THREADS, ANSWER_SESSIONS, OTHER_SESSIONS = 16, 4, 25  # of a web process, of a celery_ai process, of the rest
KEPT_SECONDS = 300  # a finished stream in Redis
ANSWER_SECONDS = model_server.FIRST_CHUNK_SECONDS + model_server.CHUNK_SECONDS * (
    (model_server.CHUNKS_MIN + model_server.CHUNKS_MAX) / 2
)
HEADER = (
    "users",
    "questions per second",
    "answers at once",
    "celery_ai processes",
    "with an embedding server",
    "web processes",
    "cores in all",
    "of them Postgres",
    "of them Redis",
    "Postgres sessions, at most",
    "Redis MB for streams",
    "celery_ai and web MB",
)


def table(spent: Mapping[str, float], megabytes: Mapping[str, float], stream_bytes: float) -> str:
    """Return the plan for each number of users, as Markdown.

    ``spent`` is CPU milliseconds of a question by service and of its ``embedding``, which celery_ai's contains;
    ``megabytes`` what celery_ai (two processes) and web (one) hold, ``stream_bytes`` what one answer takes in Redis.
    """
    return figures.table(HEADER, [_row(users, spent, megabytes, stream_bytes) for users in USERS])


def _row(users: int, spent: Mapping[str, float], megabytes: Mapping[str, float], stream_bytes: float) -> list[object]:
    arrivals = users / PER_USER_SECONDS

    def cores(milliseconds: float) -> float:
        return arrivals * milliseconds / 1000 / LOAD

    at_once = arrivals * ANSWER_SECONDS
    answering = spent["celery_ai"] + spent["standby"]
    at_least = max(2, math.ceil(at_once / PLACES / LOAD))
    workers = max(at_least, math.ceil(cores(answering)))
    without_embedding = max(at_least, math.ceil(cores(answering - spent["embedding"])))
    webs = max(1, math.ceil(cores(spent["web"])))
    sessions = webs * WEB_THREADS + workers * ANSWER_SESSIONS + OTHER_SESSIONS
    streams = arrivals * (KEPT_SECONDS + ANSWER_SECONDS) * stream_bytes / 2**20
    memory = workers * megabytes["celery_ai"] / 2 + webs * megabytes["web"]
    return [
        f"{users:,}",
        f"{arrivals:.1f}",
        f"{at_once:,.0f}",
        workers,
        without_embedding,
        webs,
        f"{cores(spent['total']):.1f}",
        f"{cores(spent['postgres']):.1f}",
        f"{cores(spent['valkey']):.1f}",
        sessions,
        f"{streams:,.0f}",
        f"{memory:,.0f}",
    ]
