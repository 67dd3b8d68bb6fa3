import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from chat.management.commands import ask
from tests.workers import running_worker

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments):
    out, err = StringIO(), StringIO()
    status = 0
    try:
        call_command("ask", *arguments, stdout=out, stderr=err)
    except SystemExit as exc:
        status = exc.code
    return status, out.getvalue(), err.getvalue()


def test_without_a_worker_it_says_so_and_keeps_the_question(tenant, monkeypatch):
    monkeypatch.setattr(ask, "LOOK_FOR_WORKERS_AFTER_SECONDS", 0.1)
    with running_worker(queues=["low_priority"], concurrency=1):
        status, _out, err = run("--tenant", "acme", "--timeout", "4", "How?")

    assert status == 3
    assert "No worker listens to high_priority" in err
    assert "the question stays" in err


def test_ask_streams_the_answer_and_prints_its_sources(tenant, site, worker):
    status, out, _err = run("--tenant", "acme", "How do I install Acme?")

    assert status == 0
    assert "pip install acme" in out
    assert "[1] Install\n    https://acme.example/install" in out
    assert "extractive · answered" in out


def test_json_is_one_line_with_everything(tenant, site, worker):
    status, out, _err = run("--tenant", "acme", "--json", "تا چند روز می‌توانم کالا را بازگردانم؟")

    body = json.loads(out)
    assert status == 0
    assert "۳۰ روز" in body["answer"]
    assert body["citations"][0]["url"] == "https://acme.example/fa/refunds"


def test_what_cannot_be_asked_is_said_with_status_2(tenant):
    for arguments in (["--tenant", "nobody", "How?"], ["--tenant", "acme", " "]):
        with pytest.raises(CommandError) as caught:
            call_command("ask", *arguments)
        assert caught.value.returncode == 2
