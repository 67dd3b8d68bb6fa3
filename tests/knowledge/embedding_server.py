"""An OpenAI-compatible embeddings endpoint on loopback that serves several models, each with its own dimension."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler

from tests.serving import serving


class EmbeddingServer:
    """``models``: name to dimension. Vectors point where the letters do, so anagrams mean the same.

    ``refuses``: a text that holds this is refused with the whole call. ``holding`` keeps passages waiting.
    """

    def __init__(self) -> None:
        self.models = {"served/a": 8, "served/b": 12}
        self.asked: list[tuple[str, list[str]]] = []
        self.refuses = "\x00"
        self.url = ""
        self.flowing = threading.Event()
        self.flowing.set()

    def count(self, model: str) -> int:
        """Return how many texts the model was asked for."""
        return sum(len(texts) for name, texts in self.asked if name == model)

    def answer(self, request: dict) -> tuple[int, dict]:
        model, texts = request["model"], request["input"]
        self.asked.append((model, texts))
        self.flowing.wait(30)
        if model not in self.models:
            return 404, {"error": {"message": "no such model"}}
        if any(self.refuses in text for text in texts):
            return 400, {"error": {"message": "not this"}}
        rows = [
            {"object": "embedding", "index": place, "embedding": vector(text, self.models[model])}
            for place, text in enumerate(texts)
        ]
        return 200, {"object": "list", "model": model, "data": rows, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def vector(text: str, dimension: int) -> list[float]:
    places = [ord(letter) % dimension for letter in text if letter.isalnum()]
    return [0.1 + places.count(place) for place in range(dimension)]


@contextmanager
def running_server() -> Iterator[EmbeddingServer]:
    told = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = told.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(BrokenPipeError):  # a killed worker does not listen any more
                self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            pass

    with serving(Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield told
        finally:
            told.flowing.set()
