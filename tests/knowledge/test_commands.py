import json

import pytest
from django.core.management import CommandError, call_command


@pytest.fixture
def page(store, tenant, embedder):
    return store(tenant, "https://example.com/pay", "# Pay\n\nYou may pay by card.", title="Paying")


def test_search_prints_the_passages_with_their_scores(page, capsys):
    call_command("search", "pay by card", "--tenant", "acme")

    out = capsys.readouterr().out
    assert "https://example.com/pay" in out
    assert "cosine –, coverage 1.00" in out
    assert "You may pay by card." in out


def test_search_prints_json_in_one_line(page, capsys):
    call_command("search", "کارت card", "--tenant", "acme", "--json", "--limit", "1")

    (found,) = json.loads(capsys.readouterr().out)
    assert (found["url"], found["heading_path"], found["cosine"]) == ("https://example.com/pay", "Pay", None)


def test_search_says_when_there_is_nothing(page, capsys):
    call_command("search", "zebra", "--tenant", "acme")

    assert capsys.readouterr().out == "Nothing found.\n"


def test_search_refuses_an_unknown_tenant(db):
    with pytest.raises(CommandError, match="no tenant"):
        call_command("search", "x", "--tenant", "nobody")
