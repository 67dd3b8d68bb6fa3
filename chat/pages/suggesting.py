"""Questions to begin with, made of the headings of the tenant's own pages."""

import re

from django.utils.translation import gettext as _

from knowledge.models import Document
from tenants.models import Tenant

COUNT = 4
LOOK_AT = 200
_SITE_NAME = re.compile(r"\s+[–—|·»]\s+[^–—|·»]{1,60}$")
_ASKS = re.compile(r"[?؟]$")


def suggestions(tenant: Tenant, language: str) -> list[str]:
    """Return up to four questions, about pages in this language if there are any; empty before the first crawl."""
    documents = Document.objects.for_tenant(tenant).exclude(title="")
    own = documents.filter(language=language)
    titles = list((own if own.exists() else documents).order_by("url").values_list("title", flat=True)[:LOOK_AT])
    subjects = list(dict.fromkeys(filter(_fits, (_SITE_NAME.sub("", title).strip() for title in titles))))
    step = max(1, len(subjects) // COUNT)
    return [_question(subject) for subject in subjects[::step][:COUNT]]


def _fits(subject: str) -> bool:
    return 6 <= len(subject) <= 70  # noqa: PLR2004 -- shorter says nothing, longer is a sentence


def _question(subject: str) -> str:
    if _ASKS.search(subject):
        return subject
    return _("What does the site say about “%(subject)s”?") % {"subject": subject}
