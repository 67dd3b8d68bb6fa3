"""What pages get and the API does without."""

import pytest
from django.test import AsyncClient

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("path", ["/api/v1/messages/x", "/api/v1/nowhere"])
async def test_the_api_has_no_session_and_no_user(async_client, path):
    response = await async_client.get(path)

    assert not hasattr(response.asgi_request, "session")
    assert "Cookie" not in response.headers.get("Vary", "")


async def test_pages_have_both(async_client):
    response = await async_client.get("/login/")

    assert response.status_code == 200
    assert hasattr(response.asgi_request, "session")
    assert hasattr(response.asgi_request, "user")


@pytest.mark.parametrize(("path", "status"), [("/login/", 403), ("/api/v1/query/", 401)])
async def test_a_form_without_its_token_is_refused_on_pages_only(path, status):
    client = AsyncClient(enforce_csrf_checks=True)

    response = await client.post(path, {"question": "x"}, content_type="application/json")

    assert response.status_code == status


async def test_every_response_carries_the_headers_of_security(async_client):
    for path in ("/login/", "/api/v1/nowhere"):
        headers = (await async_client.get(path)).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
