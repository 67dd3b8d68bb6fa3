"""A small HTTP server that speaks OpenAI's streaming chat completions, well or badly as the model's name says."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["You ", "can ", "return ", "any ", "item ", "within ", "30 ", "days ", "[", "1", "]", ", ", "says [9] ", "it."]


class ModelServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.prompts: list[list[dict]] = []
        self.calls = 0
        self.dropped = threading.Event()  # a client closed the connection before the end
        self.goes_on = threading.Event()  # lets the "waits" model finish

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the tests


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls += 1
        self.prompt = body["messages"]
        self.server.prompts.append(self.prompt)
        try:
            getattr(self, f"model_{body['model']}")()
        except OSError:
            self.server.dropped.set()
        self.close_connection = True

    def model_good(self):
        self.begin()
        for word in WORDS:
            self.say(word)
        self.complete()

    def model_counts(self):
        self.begin()
        self.say("Within 30 days [1].")
        self.complete(usage={"prompt_tokens": 321, "completion_tokens": 7})

    def model_miscounts(self):
        self.begin()
        self.say("Within 30 days [1].")
        self.complete(usage={"prompt_tokens": -1, "completion_tokens": "many"})

    def model_babbles(self):
        """Say an answer, and then what is not the protocol, in one packet."""
        self.begin()
        self.say("Within 30 days [1].")
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        self.raw(f"data: {json.dumps(end)}\n\ndata: {{nonsense\n\n".encode())

    def model_halves(self):
        """Cut between the two halves of a character, as a server that counts in UTF-16, and lose one at the end."""
        self.begin()
        self.say("Good \ud83d", "\ude00 day [1], \ud83d")
        self.complete()

    def model_unknowing(self):
        self.begin()
        for word in ("NO_", "ANS", "WER"):
            self.say(word)
        self.complete()

    def model_slow(self):
        """Twelve seconds of text, unless the client leaves."""
        self.begin()
        for n in range(120):
            self.say(f"word{n} ")
            time.sleep(0.1)
        self.complete()

    def model_trickles(self):
        """Forty pieces in rather less than half a second."""
        self.begin()
        for n in range(40):
            self.say(f"word{n} ")
            time.sleep(0.01)
        self.complete()

    def model_waits(self):
        """Say something, then nothing until the test lets it go on."""
        self.begin()
        self.say("So far [1]. ")
        while not self.server.goes_on.wait(0.05):
            self.raw(b": silence\n\n")
        self.say("The end.")
        self.complete()

    def model_status500(self):
        self.send_error(500)

    def model_as_asked(self):
        """Behave as the last word of the question says."""
        words = reversed(self.prompt[-1]["content"].split())
        getattr(self, next(name for word in words if hasattr(self, name := f"model_{word}")))()

    def model_status429(self, retry_after="1"):
        self.send_response(429)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def model_status429_for_long(self):
        self.model_status429("3600")

    def model_status429_without_a_time(self):
        self.model_status429("")

    def model_status401(self):
        self.send_error(401)

    def model_second_try(self):
        if self.server.calls == 1:
            self.send_error(503)
        else:
            self.model_good()

    def model_half(self):
        self.begin()
        self.say("You can return ")

    def model_nonsense(self):
        self.begin()
        self.raw(b"data: {this is not json\n\n")

    def model_other_json(self):
        self.begin()
        self.raw(b'data: {"choices": "none", "hello": [1]}\n\n')
        self.complete()

    def model_html(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "15")
        self.end_headers()
        self.wfile.write(b"<html>no</html>")

    def model_says_error(self):
        self.begin()
        self.raw(b'data: {"error": {"message": "out of memory"}}\n\n')

    def model_hangs(self):
        self.begin()
        self.say("You ")
        self.wait_for_client_to_leave()

    def model_never_begins(self):
        self.wait_for_client_to_leave()

    def begin(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()

    def say(self, *texts):
        """Send a chunk for each text, all in one packet."""
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        said = [
            chunk | {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts
        ]
        self.raw("".join(f"data: {json.dumps(one)}\n\n" for one in said).encode())

    def complete(self, usage=None):
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        end = chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        self.raw(f"data: {json.dumps(end)}\n\n".encode())
        if usage:
            self.raw(f"data: {json.dumps(chunk | {'choices': [], 'usage': usage})}\n\n".encode())
        self.raw(b"data: [DONE]\n\n")

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()

    def wait_for_client_to_leave(self):
        if self.rfile.read(1) == b"":
            self.server.dropped.set()

    def log_message(self, *_args):
        pass


@contextmanager
def running_model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.goes_on.set()
        server.shutdown()
        server.server_close()
