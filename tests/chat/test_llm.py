import asyncio
import ssl
import time
from contextlib import aclosing, asynccontextmanager, suppress

import pytest

from chat import llm, model_connection

TURNS = [{"role": "user", "content": "hello"}]


def never():
    return False


async def pieces_of(*, should_stop=never):
    return [piece async for piece in llm.stream(TURNS, should_stop=should_stop)]


async def text_of():
    return "".join(await pieces_of())


@pytest.fixture(autouse=True)
def _short_patience(settings):
    settings.LLM_IDLE_TIMEOUT_SECONDS = 0.6
    settings.LLM_FIRST_TOKEN_TIMEOUT_SECONDS = 0.6
    settings.CHAT_ANSWER_DEADLINE_SECONDS = 20


async def test_the_text_streams_in_pieces(use_model):
    use_model("good")

    assert await text_of() == "You can return any item within 30 days [1], says [9] it."


async def test_a_character_that_the_server_cut_in_two_is_whole_again_and_a_lost_half_is_marked(use_model):
    use_model("halves")

    assert await text_of() == "Good 😀 day [1], \ufffd"


async def test_after_the_first_text_all_that_came_is_read_at_a_beat(use_model, monkeypatch):
    use_model("trickles")
    readings = []
    receive = model_connection.Connection.data_received
    monkeypatch.setattr(
        model_connection.Connection, "data_received", lambda self, data: (readings.append(data), receive(self, data))
    )

    text = await text_of()

    assert text == "".join(f"word{n} " for n in range(40))
    assert len(readings) < 20  # each piece was sent by itself


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("status500", llm.LLMUnavailableError),
        ("status429", llm.LLMUnavailableError),
        ("status401", llm.LLMRefusedError),
        ("half", llm.LLMBrokenStreamError),
        ("nonsense", llm.LLMBrokenStreamError),
        ("other_json", llm.LLMBrokenStreamError),
        ("html", llm.LLMBrokenStreamError),
        ("says_error", llm.LLMBrokenStreamError),
        ("hangs", llm.LLMTimeoutError),
        ("never_begins", llm.LLMTimeoutError),
    ],
)
async def test_each_way_a_model_fails_has_its_name(use_model, model, error):
    use_model(model)

    with pytest.raises(llm.LLMError) as caught:
        await text_of()

    assert type(caught.value) is error


async def test_an_unreachable_model_is_named(settings):
    settings.LLM_BASE_URL = "http://127.0.0.1:9/v1"

    with pytest.raises(llm.LLMUnavailableError):
        await text_of()


async def test_one_second_try_before_the_first_text_and_none_after(use_model, model_server):
    use_model("second_try")
    assert (await text_of()).startswith("You can")
    assert model_server.calls == 2

    use_model("half")
    with pytest.raises(llm.LLMBrokenStreamError):
        await text_of()
    assert model_server.calls == 3


async def test_a_busy_model_is_asked_twice_at_most(use_model, model_server):
    use_model("status429")

    with pytest.raises(llm.LLMUnavailableError):
        await text_of()

    assert model_server.calls == 2


@pytest.mark.parametrize("model", ["hangs", "waits", "never_begins"])
async def test_stop_closes_the_connection_of_a_silent_model(use_model, model_server, settings, model):
    settings.LLM_IDLE_TIMEOUT_SECONDS = settings.LLM_FIRST_TOKEN_TIMEOUT_SECONDS = 60
    use_model(model)
    stop_at = time.monotonic() + 0.4

    await pieces_of(should_stop=lambda: time.monotonic() > stop_at)

    assert await asyncio.to_thread(model_server.dropped.wait, 5)


async def test_leaving_the_stream_closes_the_connection(use_model, model_server):
    use_model("slow")
    async with aclosing(llm.stream(TURNS, should_stop=never)) as stream:
        assert await anext(stream)

    assert await asyncio.to_thread(model_server.dropped.wait, 5)


async def test_the_deadline_ends_a_model_that_talks_for_ever(use_model, settings):
    use_model("slow")
    settings.CHAT_ANSWER_DEADLINE_SECONDS = 0.5

    with pytest.raises(llm.LLMTimeoutError):
        await text_of()


@asynccontextmanager
async def keeping_server(settings):
    """A model behind connections that stay open; yields its open writers."""
    chunk = b'data: {"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    writers = []

    async def serve(reader, writer):
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(chunk), chunk))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    settings.LLM_BASE_URL = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield writers
    finally:
        server.close()


async def test_the_next_answer_uses_the_connection_that_the_last_one_left(settings):
    async with keeping_server(settings) as connections:
        assert [await text_of() for _ in range(3)] == ["Hello"] * 3
        assert len(connections) == 1


async def test_a_kept_connection_that_the_server_has_closed_is_replaced(settings):
    async with keeping_server(settings) as connections:
        assert await text_of() == "Hello"
        connections[0].transport.abort()

        assert await text_of() == "Hello"
        assert len(connections) == 2


def test_a_model_behind_tls_must_be_whom_the_system_trusts():
    assert model_connection._ssl_context().verify_mode == ssl.CERT_REQUIRED
    assert model_connection._ssl_context().check_hostname
