"""The notifications that the system writes by itself, in English and Persian."""

from tenants.models import Notification, WebhookEndpoint

_GONE = WebhookEndpoint.DisabledReason.GONE

_WHY = {
    "en": {True: "it answered 410 Gone", False: "no delivery to it has worked for days"},
    "fa": {True: "پاسخ ‎410 Gone‎ داد", False: "چند روز است هیچ ارسالی به آن موفق نبوده است"},
}
_SUBJECT = {"en": "Webhook switched off", "fa": "وب‌هوک خاموش شد"}
_BODY = {
    "en": (
        "The webhook to {url} was switched off because {why}.\n\n"
        "Nothing is lost: repair the endpoint, switch it on again and replay the events of the time in between."
    ),
    "fa": (
        "وب‌هوک به نشانی {url} خاموش شد، چون {why}.\n\n"
        "چیزی از دست نرفته است: پس از رفع مشکل، آن را دوباره روشن کنید و رویدادهای این فاصله را دوباره بفرستید."
    ),
}


def tell_endpoint_disabled(endpoint: WebhookEndpoint, reason: str) -> Notification:
    """Queue a notification to the tenant's owners; the sweeper rings for it within a second."""
    is_gone = reason == _GONE
    body = {language: _BODY[language].format(url=endpoint.url, why=_WHY[language][is_gone]) for language in _BODY}
    return Notification.objects.create(
        tenant_id=endpoint.tenant_id,
        audience=Notification.Audience.OWNERS,
        level=Notification.Level.PROBLEM,
        subject=_SUBJECT["en"],
        body=body["en"],
        subject_fa=_SUBJECT["fa"],
        body_fa=body["fa"],
    )
