import threading

import pytest
from django.conf import settings
from django.db import OperationalError

from core import sweeper


def failing():
    raise OperationalError("the server is away")


def test_sweeper_goes_on_with_others_while_one_fails():
    swept = []
    loop = sweeper.Loop({"bad": failing, "good": lambda: swept.append(1) or 1})

    loop.run_once()
    loop.run_once()

    assert swept == [1, 1]
    assert loop.failures == {"bad": 1, "good": 0}, "a failed sweep rests before it is tried again"


def test_sweeper_tries_a_failed_sweep_again_and_forgets_its_failures():
    outcomes = [failing, lambda: 0]

    def shaky():
        return outcomes.pop(0)()

    loop = sweeper.Loop({"shaky": shaky})

    while outcomes:
        loop.run_once()

    assert loop.failures == {"shaky": 0}


def test_sweeper_never_rests_longer_than_its_limit():
    loop = sweeper.Loop({"bad": failing})
    loop.failures["bad"] = 500

    loop.run_once()

    assert loop.rounds_to_skip["bad"] <= sweeper.BACKOFF_MAX_SECONDS / settings.SWEEPER_INTERVAL_SECONDS


def test_sweeper_shows_life_and_ends_when_it_is_told_to(tmp_path, settings):
    settings.HEALTH_DIR = tmp_path
    stopped = threading.Event()

    sweeper.run({"once": lambda: stopped.set() or 0}, stopped)

    assert (tmp_path / "sweeper").exists()


def test_sweeps_named_in_the_settings_exist():
    assert all(callable(sweep) for sweep in sweeper.load_sweeps(settings.SWEEPERS).values())


def test_a_sweep_that_does_not_exist_is_named():
    with pytest.raises(ImportError, match="nothing_here"):
        sweeper.load_sweeps(["core.sweeper:nothing_here"])
