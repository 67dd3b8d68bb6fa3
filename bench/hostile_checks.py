"""What is looked at besides the reasons of pages, by the names that `bench.hostile_cases` uses.

Each takes the run, what the server was asked, the pauses that were skipped and the seconds each page took, and returns
complaints.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from django.contrib.auth.models import User
from django.test import Client

from core.settings import BASE_DIR
from crawl.models import CrawlRun, Page
from knowledge.models import Document

Seen = list[dict[str, str]]
Check = Callable[[CrawlRun, Seen, list[float], dict[str, float]], list[str]]

RETRY_AFTER_MAX_SECONDS = 3600
DELAY_MAX_SECONDS = 31
APPS = ("core", "tenants", "knowledge", "crawl", "chat", "tasks_api")


def documents(run: CrawlRun) -> list[Document]:
    return list(Document.objects.filter(pages__website=run.website))


def complain_if(is_wrong: object, text: str) -> list[str]:
    return [text] if is_wrong else []


def asked(seen: Seen, *paths: str) -> list[str]:
    return [request["target"] for request in seen if request["target"].partition("?")[0] in paths]


def few_pages(run: CrawlRun, seen: Seen, _pauses: list[float], _seconds: dict[str, float]) -> list[str]:
    limit = run.website.max_pages
    return complain_if(len(seen) > 2 * limit, f"{len(seen)} requests at a limit of {limit} pages")


def columns(run: CrawlRun, *_rest: object) -> list[str]:
    return complain_if(any(len(document.title) > 500 for document in documents(run)), "a title is too long")


def fast(_run: CrawlRun, _seen: Seen, _pauses: list[float], seconds: dict[str, float]) -> list[str]:
    return complain_if(max(seconds.values()) > 1, "a page took more than a second")


def no_cookies(_run: CrawlRun, seen: Seen, *_rest: object) -> list[str]:
    heads = "".join(request["head"].lower() for request in seen)
    return complain_if("\ncookie:" in heads or "\nauthorization:" in heads, "cookies were sent") + complain_if(
        asked(seen, "/logout"), "logged out"
    )


def duplicates(run: CrawlRun, *_rest: object) -> list[str]:
    count = len({document.pk for document in documents(run)})
    return complain_if(count > 2, f"{count} documents")


def honeypot(_run: CrawlRun, seen: Seen, *_rest: object) -> list[str]:
    return complain_if(asked(seen, "/trap"), "went into the trap")


def cut(run: CrawlRun, *_rest: object) -> list[str]:
    detail = Page.objects.get(website=run.website, url__endswith="/a").detail
    return complain_if("of 3000 pages" not in detail, f"detail “{detail}”")


def persian(run: CrawlRun, *_rest: object) -> list[str]:
    return complain_if(not any("خانه" in document.content for document in documents(run)), "letters are broken")


def no_script(run: CrawlRun, *_rest: object) -> list[str]:
    return complain_if(any("<script" in document.content for document in documents(run)), "UTF-7 was believed")


def no_overrides(run: CrawlRun, *_rest: object) -> list[str]:
    return complain_if(any("\u202e" in document.content for document in documents(run)), "directions are overridden")


def only_robots(_run: CrawlRun, seen: Seen, *_rest: object) -> list[str]:
    return complain_if({request["target"] for request in seen} - {"/robots.txt"}, "pages were asked for")


def bounded_pause(_run: CrawlRun, seen: Seen, pauses: list[float], _seconds: dict[str, float]) -> list[str]:
    limit = RETRY_AFTER_MAX_SECONDS if asked(seen, "/h") else DELAY_MAX_SECONDS
    return complain_if(not pauses or max(pauses) > limit + 1, f"pauses of {max(pauses, default=0):.0f} s")


def nothing_inside(run: CrawlRun, *_rest: object) -> list[str]:
    texts = "".join(document.content for document in documents(run))
    texts += "".join(Page.objects.filter(website=run.website).values_list("url", flat=True))
    return complain_if("root:" in texts or "lollol" in texts, "something was read that is not the site's")


def levels(_run: CrawlRun, seen: Seen, *_rest: object) -> list[str]:
    return complain_if(asked(seen, "/s/4"), "followed an index of indexes of indexes of indexes")


def once(run: CrawlRun, *_rest: object) -> list[str]:
    urls = Counter(Page.objects.filter(website=run.website).values_list("url", flat=True))
    return complain_if(any(count > 1 for count in urls.values()), "a page twice")


def no_menu(run: CrawlRun, *_rest: object) -> list[str]:
    return complain_if(any("menu entry" in document.content for document in documents(run)), "the menu is content")


def escaped(run: CrawlRun, *_rest: object) -> list[str]:
    """Look at the admin's list of documents as staff does."""
    staff, _is_new = User.objects.get_or_create(username="staff", is_staff=True, is_superuser=True)
    client = Client(SERVER_NAME="localhost")
    client.force_login(staff)
    shown = client.get("/admin/knowledge/document/?q=alert").content.decode()
    return complain_if("<script>alert(70)" in shown or "alert(70)" not in shown, "a title is not escaped")


def no_csv(*_rest: object) -> list[str]:
    """Nothing is exported to spreadsheets: conversations leave as JSON."""
    sources = [path for app in APPS for path in Path(BASE_DIR, app).rglob("*.py")]
    return complain_if(any("import csv" in path.read_text() for path in sources), "something writes CSV")


CHECKS: dict[str, Check] = {
    "": lambda *_arguments: [],
    "pages": few_pages,
    "columns": columns,
    "fast": fast,
    "no_cookies": no_cookies,
    "duplicates": duplicates,
    "honeypot": honeypot,
    "cut": cut,
    "persian": persian,
    "no_script": no_script,
    "no_overrides": no_overrides,
    "only_robots": only_robots,
    "pause": bounded_pause,
    "nothing_inside": nothing_inside,
    "levels": levels,
    "once": once,
    "no_menu": no_menu,
    "escaped": escaped,
    "no_csv": no_csv,
}
