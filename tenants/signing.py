"""Secrets and signatures of webhooks, as Standard Webhooks asks (https://www.standardwebhooks.com).

A secret is made from the installation's ``SECRET_KEY``, the endpoint's id and a random salt, and never stored: a copy
of the database signs nothing. While the old key stands in ``SECRET_KEY_FALLBACKS``, its signatures are sent as well.
"""

import base64
import secrets
from datetime import datetime

from django.conf import settings
from django.utils.crypto import salted_hmac
from standardwebhooks import Webhook

from tenants.models import WebhookEndpoint

PREFIX = "whsec_"
_PURPOSE = "tenants.signing"


def new_salt() -> str:
    return secrets.token_urlsafe(32)


def secret_of(endpoint: WebhookEndpoint) -> str:
    """Return the endpoint's current secret, ``whsec_…`` with 32 bytes in base64."""
    return _secret(endpoint, endpoint.secret_salt, settings.SECRET_KEY)


def signed_headers(endpoint: WebhookEndpoint, *, event_id: str, body: str, now: datetime) -> dict[str, str]:
    """Return the three headers of one attempt; there is a signature for every secret valid now. ``now`` is in UTC."""
    signatures = [Webhook(secret).sign(event_id, now, body) for secret in _valid_secrets(endpoint, now)]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _valid_secrets(endpoint: WebhookEndpoint, now: datetime) -> list[str]:
    salts = [endpoint.secret_salt]
    if endpoint.previous_salt and endpoint.previous_valid_until and now < endpoint.previous_valid_until:
        salts.append(endpoint.previous_salt)
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [_secret(endpoint, salt, key) for key in keys for salt in salts]


def _secret(endpoint: WebhookEndpoint, salt: str, key: str) -> str:
    digest = salted_hmac(_PURPOSE, f"{endpoint.pk}.{salt}", secret=key, algorithm="sha256").digest()
    return PREFIX + base64.b64encode(digest).decode("ascii")
