"""A configuration in which chat would wait is told, and refused where workers are started."""

from types import SimpleNamespace

import pytest

from core import consumers, queues
from core.consumers import Consumer
from core.health.worker import QueueSeparation
from core.up import checks
from core.up.errors import UpError
from core.up.places import Places

ALONE = Consumer("ai1", frozenset({queues.HIGH_PRIORITY}))
BACKGROUND = Consumer("bg", frozenset({queues.DEFAULT, queues.LOW_PRIORITY}))
MIXED = Consumer("all", frozenset(queues.NAMES))
WORKER = "[program:{name}]\ncommand = nice -n 19 python -m celery -A core worker -n {name}@%%h {options}\n"


@pytest.fixture
def deploy(tmp_path, settings):
    """A folder of workers' files; call it with a service's name and its workers' options."""
    (tmp_path / "deploy").mkdir()
    settings.DEPLOY_DIR = tmp_path / "deploy"

    def write(service, **workers):
        programs = [WORKER.format(name=name, options=options) for name, options in workers.items()]
        (settings.DEPLOY_DIR / f"{service}.conf").write_text("[supervisord]\nnodaemon = true\n\n" + "\n".join(programs))

    return write


def test_the_files_that_ship_give_chat_workers_of_its_own(settings):
    found = {consumer.name: consumer for consumer in consumers.configured(settings.DEPLOY_DIR)}

    assert consumers.find_configured_problem(settings.DEPLOY_DIR) == ""
    assert {"celery_ai.conf:ai1", "celery_worker.conf:bg", "celery_worker.conf:standby"} <= set(found)
    assert found["celery_worker.conf:bg"].queues == BACKGROUND.queues
    assert found["celery_ai.conf:ai1"].is_for_chat_alone


def test_a_worker_for_chat_alone_beside_one_for_the_rest_is_well():
    assert consumers.find_problem([ALONE, BACKGROUND]) == ""


@pytest.mark.parametrize("running", [[], [BACKGROUND]])
def test_without_a_worker_for_chat_alone_one_line_says_what_to_do(running):
    problem = consumers.find_problem(running)

    assert problem.startswith(f"no worker reads {queues.HIGH_PRIORITY} and nothing else. ")
    assert "deploy/celery_ai.conf" in problem
    assert "\n" not in problem


def test_a_worker_that_mixes_is_named_even_where_another_does_not():
    assert consumers.find_problem([ALONE, MIXED]).startswith("all (default,high_priority,low_priority) lets chat wait")


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ("-Q high_priority", {"high_priority"}),
        ("-Q high_priority,default -c 4", {"high_priority", "default"}),
        ("--queues=low_priority", {"low_priority"}),
        ("-c 4", set(queues.NAMES)),  # Celery then reads every queue
    ],
)
def test_the_queues_of_a_worker_are_read_from_its_command(deploy, settings, options, read):
    deploy("celery_ai", ai1=options)

    assert [set(consumer.queues) for consumer in consumers.configured(settings.DEPLOY_DIR)] == [read]


def test_a_worker_that_is_not_started_does_not_count(deploy, settings):
    deploy("celery_ai", ai1="-Q high_priority\nautostart = false")

    assert consumers.configured(settings.DEPLOY_DIR) == []
    assert consumers.find_configured_problem(settings.DEPLOY_DIR)


def test_script_up_refuses_such_a_configuration_in_one_line(deploy, tmp_path):
    deploy("celery_worker", bg="-Q default,low_priority")

    with pytest.raises(UpError, match=r"^no worker reads high_priority and nothing else\. .*-Q high_priority"):
        checks.check_consumers(Places(tmp_path, tmp_path / "var"))


def test_a_file_that_cannot_be_read_is_told_in_one_line(deploy, settings):
    (settings.DEPLOY_DIR / "celery_ai.conf").write_text("command without a section\n")

    problem = consumers.find_configured_problem(settings.DEPLOY_DIR)
    assert "cannot be read" in problem
    assert "\n" not in problem


def boot(*reads):
    """Take the step of a worker's start that looks at what it will read."""
    worker = SimpleNamespace(
        hostname="bg@here", app=SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=reads)))
    )
    return QueueSeparation(worker).include_if(worker)


def test_a_background_worker_refuses_to_start_where_nothing_starts_one_for_chat(deploy):
    deploy("celery_worker", bg="-Q default,low_priority")

    with pytest.raises(SystemExit, match=r"^pasokh: refusing to start bg@here: no worker reads high_priority and noth"):
        boot(queues.DEFAULT, queues.LOW_PRIORITY)


def test_a_worker_for_chat_alone_starts_all_the_same_since_it_is_the_cure(deploy):
    deploy("celery_worker", bg="-Q default,low_priority")

    assert boot(queues.HIGH_PRIORITY) is False


def test_with_the_files_that_ship_a_background_worker_starts():
    assert boot(queues.DEFAULT, queues.LOW_PRIORITY) is False
