"""Whose task a chat worker's threads take first."""

import threading

import pytest

from core.asyncio_pool import TaskPool


class Work:
    """Tasks that run until they are let go, and the order in which they began."""

    def __init__(self):
        self.began = []
        self.gates = {}
        self.changed = threading.Condition()

    def run(self, _name, task_id, _request, *_rest):
        with self.changed:
            self.began.append(task_id)
            self.changed.notify_all()
        assert self.gates[task_id].wait(10)
        return 0, "None", 0.0

    def let_go(self, *task_ids):
        for task_id in task_ids:
            self.gates[task_id].set()

    def wait_until(self, *task_ids):
        with self.changed:
            assert self.changed.wait_for(lambda: set(task_ids) <= set(self.began), 10), self.began


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def add(work, settings):
    settings.ANSWER_THREADS = 2
    pool = TaskPool(100)
    pool.on_start()

    def add_task(task_id, level):
        work.gates[task_id] = threading.Event()
        request = {"delivery_info": {"priority": level}}
        pool.on_apply(work.run, ("chat", task_id, request, "", "", ""), {}, callback=lambda *_: None)

    yield add_task
    work.let_go(*work.gates)
    pool.on_stop()


def test_the_further_questions_of_a_rush_leave_a_thread_to_the_first_of_another(work, add):
    for task_id in ("rush 1", "rush 2", "rush 3"):
        add(task_id, 9)
    work.wait_until("rush 1")

    add("another's", 0)
    work.wait_until("another's")

    assert work.began == ["rush 1", "another's"]


def test_what_waits_is_taken_by_its_level_then_in_the_order_of_coming(work, add):
    add("first", 0)
    add("second", 0)
    work.wait_until("first", "second")
    for task_id, level in {"late": 6, "later": 6, "urgent": 0, "soon": 3}.items():
        add(task_id, level)

    work.let_go("first", "second", "urgent", "soon", "late")
    work.wait_until("later")
    assert work.began[2:] == ["urgent", "soon", "late", "later"]


def test_one_thread_does_all(work, add, settings):
    settings.ANSWER_THREADS = 1
    add("rush 1", 9)
    work.wait_until("rush 1")
    work.let_go("rush 1")
    add("rush 2", 9)
    work.wait_until("rush 2")
