"""Kill workers, kill the broker, wipe the broker, with questions on their way: none is lost, none answered twice."""

import json
import os
import subprocess
import sys

import pytest
from django.conf import settings

pytestmark = pytest.mark.slow


def test_no_question_is_lost_or_answered_twice_when_workers_and_broker_are_killed():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "loss", "--kills", "4", "--messages", "60"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": "", "REDIS_URL": ""},  # the bench starts its own
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout.splitlines()[-1])

    assert verdict["kills"] == {"broker killed": 1, "broker wiped": 1, "worker killed": 2}
    assert verdict["refused"] == verdict["lost"] == verdict["failed"] == verdict["second_answers"] == 0
    assert verdict["messages"] == 60
