"""``manage.py limits``: what is left of a day, and a new beginning."""

import json
import uuid

import pytest
from django.core.management import CommandError, call_command

from tenants import services

pytestmark = pytest.mark.django_db


@pytest.fixture
def user(tenant):
    end_user = services.get_end_user(tenant=tenant, external_id="u1")
    for _ in range(3):
        services.reserve_question(tenant=tenant, end_user=end_user, question_id=uuid.uuid4())
    return end_user


def limits(capsys, *arguments):
    call_command("limits", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def test_it_shows_what_is_left_of_a_users_day(user, capsys, settings):
    settings.LIMIT_END_USER_DAILY = 10

    shown = limits(capsys, "show", "--tenant", "acme", "--user", "u1")

    assert (shown["user_id"], shown["limit"], shown["used"], shown["remaining"]) == ("u1", 10, 3, 7)


def test_it_gives_a_user_or_everyone_the_day_back(user, capsys):
    assert limits(capsys, "reset", "--tenant", "acme", "--user", "u1")["given_back"] == 3
    services.reserve_question(tenant=user.tenant, end_user=user, question_id=uuid.uuid4())

    shown = limits(capsys, "reset", "--tenant", "acme")

    assert (shown["user_id"], shown["given_back"], shown["used"]) == (None, 1, 0)
    assert services.allowance(tenant=user.tenant, end_user=user).used == 0


def test_without_json_it_speaks_to_people(user, capsys):
    call_command("limits", "reset", "--tenant", "acme", "--user", "u1")

    assert "3 questions of today are given back" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--tenant", "nobody"], ["--tenant", "acme", "--user", "stranger"]])
def test_who_is_unknown_is_said_and_changes_nothing(user, arguments):
    with pytest.raises(CommandError) as refusal:
        call_command("limits", "reset", *arguments)

    assert refusal.value.returncode == 2
    assert services.allowance(tenant=user.tenant, end_user=user).used == 3
