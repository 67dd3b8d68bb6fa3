"""The handbook as a website: public pages in two languages, made to be read, indexed and crawled."""

from datetime import UTC, datetime

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponsePermanentRedirect, HttpResponseRedirect
from django.shortcuts import render
from django.utils import translation
from django.utils.http import http_date
from django.views.decorators.cache import cache_control
from django.views.decorators.http import conditional_page, require_safe

from core.handbook import contents

_ROBOTS = """User-agent: *
Allow: /handbook/
Disallow: /admin/
Disallow: /api/
Disallow: /chat/
Disallow: /login/
Disallow: /logout/
Disallow: /i18n/

Sitemap: {sitemap}
"""


@require_safe
def choose_language(request: HttpRequest) -> HttpResponse:
    """Send a reader to the handbook in their own language."""
    language = translation.get_language()
    return HttpResponseRedirect(f"/handbook/{language if language in contents.LANGUAGES else 'en'}/")


@require_safe
@cache_control(public=True, max_age=60)
@conditional_page
def index(request: HttpRequest, language: str) -> HttpResponse:
    pages = contents.pages(language)
    addresses = {code: f"/handbook/{code}/" for code in contents.LANGUAGES}
    return _page(
        request,
        "handbook/index.html",
        language=language,
        addresses=addresses,
        context={"pages": pages},
        sources=pages,
    )


@require_safe
@cache_control(public=True, max_age=60)
@conditional_page
def page(request: HttpRequest, language: str, slug: str) -> HttpResponse:
    found = contents.find(slug, language)
    if found is None:
        raise Http404
    pages = contents.pages(language)
    position = pages.index(found)
    context = {
        "page": found,
        "pages": pages,
        "previous": pages[position - 1] if position else None,
        "next": pages[position + 1] if position + 1 < len(pages) else None,
    }
    addresses = {code: contents.path_of(found.name, code) for code in contents.LANGUAGES}
    return _page(
        request,
        "handbook/page.html",
        language=language,
        addresses=addresses,
        context=context,
        sources=[found],
    )


def _page(
    request: HttpRequest,
    template: str,
    *,
    language: str,
    addresses: dict[str, str],
    context: dict[str, object],
    sources: list[contents.Page],
) -> HttpResponse:
    """Render in the page's own language, whatever the reader's browser asks for."""
    context |= {
        "language": language,
        "canonical": settings.PUBLIC_URL + addresses[language],
        "alternates": [(code, settings.PUBLIC_URL + address) for code, address in addresses.items()],
        "other": next((code, address) for code, address in addresses.items() if code != language),
    }
    with translation.override(language):
        response = render(request, template, context)
    response["Content-Language"] = language
    response["Last-Modified"] = http_date(max(source.modified_at for source in sources))
    return response


@require_safe
def slashless(request: HttpRequest, language: str, slug: str) -> HttpResponse:
    found = contents.find(slug, language)
    if found is None:
        raise Http404
    return HttpResponsePermanentRedirect(found.path)


@require_safe
@cache_control(public=True, max_age=60)
@conditional_page
def robots(request: HttpRequest) -> HttpResponse:
    text = _ROBOTS.format(sitemap=f"{settings.PUBLIC_URL}/sitemap.xml")
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@require_safe
@cache_control(public=True, max_age=60)
@conditional_page
def sitemap(request: HttpRequest) -> HttpResponse:
    entries = []
    for language in contents.LANGUAGES:
        pages = contents.pages(language)
        entries.append((f"/handbook/{language}/", max(item.modified_at for item in pages)))
        entries += [(item.path, item.modified_at) for item in pages]
    urls = [(settings.PUBLIC_URL + path, datetime.fromtimestamp(at, UTC).date().isoformat()) for path, at in entries]
    return render(request, "handbook/sitemap.xml", {"urls": urls}, content_type="application/xml; charset=utf-8")
