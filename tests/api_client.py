"""A caller of the HTTP API with a key."""

import json
from typing import Any

from django.test import Client

PREFIX = "/api/v1/"


class ApiClient:
    def __init__(self, key: str) -> None:
        self.client = Client(headers={"X-API-Key": key})

    def get(self, path: str, **params: Any) -> Any:
        return self.client.get(PREFIX + path, params)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self._send("post", path, {} if body is None else body, headers)

    def patch(self, path: str, body: Any) -> Any:
        return self._send("patch", path, body, {})

    def delete(self, path: str) -> Any:
        return self.client.delete(PREFIX + path)

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return getattr(self.client, method)(PREFIX + path, data, content_type="application/json", headers=headers)


def pointers(response: Any) -> list[str]:
    """Return the fields that a problem points to."""
    assert response.headers["Content-Type"] == "application/problem+json"
    return [error["pointer"] for error in response.json()["errors"]]


def ids(response: Any) -> list[str]:
    return [str(row["id"]) for row in response.json()["data"]]
