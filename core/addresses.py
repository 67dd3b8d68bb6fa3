"""Addresses that work with and without a trailing slash, so that no client is redirected and loses its body."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path


def either_slash(route: str, view: Callable[..., Any], name: str) -> list[URLPattern]:
    """Return ``route`` as written and with its trailing slash added or removed; only the first is documented."""
    other = route[:-1] if route.endswith("/") else f"{route}/"
    return [path(route, view, name=name), path(other, view, {}, name=f"{name}-either-slash")]


def document_once(endpoints: list[tuple[str, str, str, Any]], **_kwargs: Any) -> list[tuple[str, str, str, Any]]:
    """Leave the second form of `either_slash` out of the OpenAPI document (a preprocessing hook)."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for endpoint in endpoints:
        key = (endpoint[0].rstrip("/"), endpoint[2])
        if key not in seen:
            seen.add(key)
            kept.append(endpoint)
    return kept
