"""Proof that chat does not wait for background work, on the installation as it runs: ``manage.py prove_isolation``.

Real questions of a throw-away tenant are asked twice: with nothing else to do, then while hundreds of its pages are
processed and embedded. What was measured is kept for operators; everything else is taken away again.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import count, islice

from django.utils import timezone

from chat import services as chat
from chat import stream
from chat.models import Message
from core import consumers, queues
from core.enqueue import publish
from core.handbook import contents
from core.redis import client
from core.states import OPEN_STATES, State
from crawl.models import Page, Website
from knowledge.models import Document, SyncItem
from knowledge.services import store_page
from tasks_api import flooding, heartbeats
from tasks_api.models import IsolationProof, TaskRun, TaskState
from tenants.models import EndUser, Tenant
from tenants.services import create_tenant
from tenants.tasks import update_user_statistics

SLUG = "isolation-proof-"
ROOT_URL = "https://isolation-proof.example/"
KNOWN_PAGES = ("queues",)  # of the handbook, in both languages
PAGES_PER_CRAWL = 40
SHORT_TASKS_SHARE = 0.25  # of the flood, on the queue `default`
ABANDONED_AFTER = timedelta(hours=1)  # a proof that was killed is cleaned up by a later one
NO_LIMIT = 1_000_000  # questions a day, whatever the installation allows
VECTORS_SECONDS = 120
ANSWER_SECONDS = 60
END_SECONDS = 60
LOOK_EVERY_SECONDS = 0.1
BACKGROUND_LISTS = (*queues.lists_of(queues.DEFAULT), *queues.lists_of(queues.LOW_PRIORITY))
NEGLIGIBLE_MS = 50.0  # a wait below is never too long, however short it is without load


@dataclass(frozen=True)
class Plan:
    """How much is asked and flooded, and what counts as a broken promise."""

    questions: int = 40
    per_second: float = 4.0
    backlog: int = 200
    max_wait_ms: float = 250.0
    max_ratio: float = 3.0


@dataclass(frozen=True)
class Spread:
    """Percentiles in milliseconds; None where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Measured:
    """What the questions of one round met."""

    asked: int
    answered: int
    wait_ms: Spread
    first_token_ms: Spread


def prove(plan: Plan, *, tell: Callable[[str], None]) -> IsolationProof:
    """Measure, judge and keep the result; whatever happens, nothing of the tenant remains."""
    begun = time.monotonic()
    measured: dict[str, Measured] = {}
    reason = _missing_worker()
    if not reason:
        remove_abandoned()
        with _throw_away_tenant() as tenant:
            asking = Asking(tenant, plan)
            tell("storing pages of the handbook and making their vectors")
            _store_known_pages(tenant)
            tell(f"asking {plan.questions} questions with nothing else to do")
            measured["idle"] = asking.ask()
            tell(f"asking {plan.questions} questions while {plan.backlog} tasks wait")
            flood = Flood(tenant, plan.backlog)
            measured["loaded"] = asking.ask(before_each=flood.top_up)
            tell("taking everything away again")
        reason = judge(measured["idle"], measured["loaded"], plan)
    return IsolationProof.objects.keep(
        is_kept=not reason,
        reason=reason,
        plan=asdict(plan),
        measured={name: asdict(each) for name, each in measured.items()},
        seconds=time.monotonic() - begun,
    )


def judge(idle: Measured, loaded: Measured, plan: Plan) -> str:
    """Return how the promise is broken, empty if it is kept."""
    for each in (idle, loaded):
        if each.answered < each.asked:
            return f"{each.asked - each.answered} of {each.asked} questions were not answered."
    before, after = idle.wait_ms.p99 or 0.0, loaded.wait_ms.p99 or 0.0
    if after > plan.max_wait_ms:
        return f"Under load a question waited {after:.0f} ms (p99); {plan.max_wait_ms:.0f} ms are allowed."
    if after > NEGLIGIBLE_MS and after > plan.max_ratio * before:
        return (
            f"Under load questions waited {after:.0f} ms (p99), alone {before:.0f} ms: more than {plan.max_ratio:g} ×."
        )
    return ""


def remove_abandoned() -> None:
    """Remove what a proof that was killed has left."""
    for tenant in Tenant.objects.filter(slug__startswith=SLUG, created_at__lt=timezone.now() - ABANDONED_AFTER):
        remove(tenant)


def remove(tenant: Tenant) -> None:
    """Delete the tenant with all it has, and its messages; what its workers are doing is let finish."""
    Page.objects.for_tenant(tenant).filter(state=Page.State.FETCHED).update(state=Page.State.SKIPPED, send_at=None)
    Website.objects.for_tenant(tenant).delete()
    Document.objects.for_tenant(tenant).delete()
    running = TaskRun.objects.for_tenant(tenant).filter(state=TaskState.RUNNING)
    deadline = time.monotonic() + END_SECONDS
    while True:
        _take_messages_back(tenant)
        if not running.exists() or time.monotonic() > deadline:
            break
        time.sleep(LOOK_EVERY_SECONDS)
    keys = [stream.key_of(pk) for pk in Message.objects.for_tenant(tenant).values_list("pk", flat=True)]
    if keys:
        client().delete(*keys)
    tenant.delete()


def _take_messages_back(tenant: Tenant) -> None:
    """Take the tenant's messages out of the background queues; they carry its id in clear (core.enqueue)."""
    for messages in BACKGROUND_LISTS:
        texts = [str(text) for text in client().lrange(messages, 0, -1) if str(tenant.pk) in str(text)]
        for text in texts:
            client().lrem(messages, 1, text)


def _missing_worker() -> str:
    """Return which workers are missing, without whom there is nothing to prove."""
    alive = [
        consumers.Consumer(worker.name, frozenset(worker.queues)) for worker in heartbeats.workers() if worker.is_alive
    ]
    if problem := consumers.find_problem(alive):
        return problem[0].upper() + problem[1:]
    unread = [name for name in queues.NAMES if not any(name in consumer.queues for consumer in alive)]
    return f"No worker reads {' and '.join(unread)}, so there would be no load. Start celery_worker." if unread else ""


@contextmanager
def _throw_away_tenant() -> Iterator[Tenant]:
    tenant = create_tenant(slug=f"{SLUG}{uuid.uuid4().hex[:12]}", name="Isolation proof")
    try:
        tenant.daily_limit = tenant.end_user_daily_limit = NO_LIMIT
        tenant.save(update_fields=["daily_limit", "end_user_daily_limit"])
        yield tenant
    finally:
        remove(tenant)


def _store_known_pages(tenant: Tenant) -> None:
    for language in contents.LANGUAGES:
        for name in KNOWN_PAGES:
            page = contents.load(name, language)
            text = (contents.ROOT / language / f"{name}.md").read_text(encoding="utf-8")
            store_page(
                tenant=tenant,
                url=f"{ROOT_URL}{language}/{name}",
                title=page.title,
                language=language,
                content=text,
                fetched_at=timezone.now(),
            )
    unmade = SyncItem.objects.for_tenant(tenant).filter(state__in=OPEN_STATES)
    _wait_until(lambda: not unmade.exists(), VECTORS_SECONDS)


class Asking:
    """Asks real questions at a fixed rate, each worded anew so that no answer comes from the cache."""

    def __init__(self, tenant: Tenant, plan: Plan) -> None:
        self.tenant = tenant
        self.plan = plan
        titles = [
            section.title
            for name in KNOWN_PAGES
            for language in contents.LANGUAGES
            for section in contents.load(name, language).sections
        ]
        self.questions = (f"{title} ({number})" for number in count(1) for title in titles)

    def ask(self, before_each: Callable[[], None] = lambda: None) -> Measured:
        """Ask a round of questions, each at its time whether or not those before are answered; wait for the answers."""
        begin = time.monotonic()
        ids = []
        for number, question in enumerate(islice(self.questions, self.plan.questions)):
            before_each()
            time.sleep(max(0.0, begin + number / self.plan.per_second - time.monotonic()))
            ids.append(chat.ask(tenant=self.tenant, question=question, user_id=f"user-{number}").pk)
        messages = Message.objects.for_tenant(self.tenant).filter(pk__in=ids)
        _wait_until(lambda: not messages.filter(state__in=OPEN_STATES).exists(), ANSWER_SECONDS)
        return _measured(list(messages))


def _measured(messages: Sequence[Message]) -> Measured:
    answered = [message for message in messages if message.state == State.DONE]
    waits = [message.milliseconds_until(message.started_at or timezone.now()) for message in messages]
    first = [message.milliseconds_until(message.first_token_at) for message in answered]
    return Measured(len(messages), len(answered), _spread(waits), _spread(first))


def _spread(values: Sequence[int | None]) -> Spread:
    ordered = sorted(value for value in values if value is not None)
    return Spread(*(_percentile(ordered, share) for share in (0.5, 0.95, 0.99)))


def _percentile(ordered: Sequence[int], share: float) -> float | None:
    return float(ordered[math.ceil(share * len(ordered)) - 1]) if ordered else None


class Flood:
    """Keeps so many tasks of the tenant waiting: pages of the handbook to be processed, statistics to be counted."""

    def __init__(self, tenant: Tenant, backlog: int) -> None:
        self.tenant = tenant
        self.backlog = backlog
        self.end_user_id = str(EndUser.objects.for_tenant(tenant).latest("pk").pk)
        self.pages = [page for language in contents.LANGUAGES for page in contents.pages(language)]
        self.crawls = 0

    def top_up(self) -> None:
        missing = self.backlog - sum(map(client().llen, BACKGROUND_LISTS))
        for _ in range(-(-missing // PAGES_PER_CRAWL)):
            self._add()

    def _add(self) -> None:
        root = f"{ROOT_URL}{self.crawls}/"
        numbers = range(self.crawls * PAGES_PER_CRAWL, (self.crawls + 1) * PAGES_PER_CRAWL)
        pages = {f"{root}{number}": self._html(number) for number in numbers}
        flooding.send(flooding.add_crawl(tenant=self.tenant, root_url=root, pages=pages, goes_on=False))
        for _ in range(round(SHORT_TASKS_SHARE * PAGES_PER_CRAWL)):
            publish(update_user_statistics, {"end_user_id": self.end_user_id}, tenant_id=self.tenant.pk)
        self.crawls += 1

    def _html(self, number: int) -> str:
        """Return a page of the handbook no passage of which was embedded before."""
        page = self.pages[number % len(self.pages)]
        body = page.html.replace("</p>", f" ({number}).</p>")
        head = f'<!doctype html><html lang="{page.language}"><title>{page.title} {number}</title>'
        return f"{head}<main>{body}</main></html>"


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_SECONDS)
    return True
