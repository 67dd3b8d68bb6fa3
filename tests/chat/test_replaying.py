"""What people asked, asked of two versions of the knowledge."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from chat import replaying, services
from chat.models import CachedAnswer, Message
from core.states import State
from knowledge import copying
from knowledge.models import VersionCopy
from knowledge.services import remove_page, store_page
from tenants.models import Tenant

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("rung", "site")]

RETURNS = "Within how many days can I return an item?"
SPACE = "How much free disk space does the installer need?"


@pytest.fixture
def coming(tenant, site):
    """The next version: returns take longer, and nothing is said of installing."""
    holder = Tenant.objects.create(slug="acme--next", name="Acme", version_of=tenant, version="next", is_active=False)
    copy = copying.begin(source=tenant, target=holder, is_whole=True)
    copying.work_on(VersionCopy.objects.claim(copy.pk))
    url, title, language, content = site[1]
    text = content.replace("30 days", "60 days")
    store_page(tenant=holder, url=url, title=title, language=language, content=text, fetched_at=timezone.now())
    remove_page(tenant=holder, url=site[0][0])
    return holder


@pytest.fixture
def asked(tenant):
    def ask(question, times):
        for number in range(times):
            message = services.ask(tenant=tenant, question=question, user_id=f"secret-{number}")
            Message.objects.filter(pk=message.pk).update(state=State.DONE)

    return ask


def test_the_most_frequent_questions_come_first_spellings_together_and_greetings_not_at_all(tenant, asked):
    asked(SPACE, 2)
    asked(RETURNS, 2)
    asked(f"  {RETURNS.lower()}?!", 1)
    asked("hello", 9)
    since = timezone.now() - timedelta(days=1)

    assert replaying.frequent_questions(tenant, since=since, limit=5) == [(RETURNS, 3), (SPACE, 2)]
    assert replaying.frequent_questions(tenant, since=timezone.now(), limit=5) == []


def test_what_changes_is_told_by_kind(tenant, coming):
    changed = replaying.compare(RETURNS, 1, live=tenant, other=coming)
    gone = replaying.compare(SPACE, 1, live=tenant, other=coming)
    same = replaying.compare("Which opened software can be returned?", 1, live=tenant, other=coming)

    assert (changed.changes, "60 days" in changed.other.text) == (["text"], True)
    assert "refusal" in gone.changes or "pages" in gone.changes
    assert same.changes == []
    assert CachedAnswer.objects.count() == 0


def test_the_command_names_questions_and_nobody(tenant, coming, asked):
    asked(RETURNS, 3)
    asked(SPACE, 1)
    table, line = StringIO(), StringIO()
    messages = Message.objects.count()

    call_command("replay", "--tenant", "acme", stdout=table)
    call_command("replay", "--tenant", "acme", "--json", stdout=line)

    told = json.loads(line.getvalue())
    assert (told["questions"], told["changed"]) == (2, 2)
    assert told["rows"][0] | {"live": 0, "other": 0} == {
        "question": RETURNS, "asked": 3, "changes": ["text"], "live": 0, "other": 0,
    }  # fmt: skip
    assert "2 of 2 questions would be answered otherwise." in table.getvalue()
    assert "secret-" not in table.getvalue() + line.getvalue()
    assert Message.objects.count() == messages


def test_a_models_answers_are_compared_as_well(tenant, coming, use_model):
    use_model("good")

    assert replaying.compare(RETURNS, 1, live=tenant, other=coming).live.text.startswith("You can return any item")


def test_without_another_version_there_is_nothing_to_compare(tenant):
    with pytest.raises(CommandError, match="There is no next version"):
        call_command("replay", "--tenant", "acme")
