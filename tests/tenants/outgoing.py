"""Sending what waits for an endpoint."""

from tenants import delivering
from tenants.models import WebhookDelivery


def deliver(endpoint):
    """Do what one message to a worker does."""
    delivering.deliver_due(endpoint.pk, seconds=5)
    endpoint.refresh_from_db()
    return WebhookDelivery.objects.filter(endpoint=endpoint).order_by("created_at").first()
