"""Addresses that work with and without a trailing slash, so that no client is redirected and loses its body."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path


def either_slash(route: str, view: Callable[..., Any], name: str) -> list[URLPattern]:
    """Return ``route`` as written and with its trailing slash added or removed; only the first is documented."""
    other = route[:-1] if route.endswith("/") else f"{route}/"
    return [path(route, view, name=name), path(other, view, {}, name=f"{name}-either-slash")]
