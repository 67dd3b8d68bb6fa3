"""The one screen that a start ends with."""

import contextlib
import sys

from core.up.environment import Environment
from core.up.places import Places

# Answered by the handbook, and so asked by a start before it says that it is ready.
QUESTIONS = ("What happens to a revoked API key?", "پاسخ به robots.txt احترام می‌گذارد؟")

_CURL = """\
    curl -s {url}/api/v1/query/ -H 'X-API-Key: {api_key}' \\
      -H 'Content-Type: application/json' -d '{{"question": "{question}", "user_id": "me"}}'
"""
_SCREEN = """
  Pasokh · پاسخ is running.

  Chat        {url}/            log in as  demo  with  {demo_password}
  Handbook    {url}/handbook/   the website it answers from
  Admin       {url}/admin/      the same login
  API         {url}/api/v1/     X-API-Key: {api_key}
  Flower      {flower_url}     admin  {flower_password}

  Ask it:
{questions}
  Look        script/services status      logs in {log}
  Check       ./manage.py doctor
  Stop        {stop}
"""


def show(places: Places, environment: Environment, *, stop: str = "Ctrl-C here, or script/down") -> None:
    key_file = places.api_key_file
    api_key = key_file.read_text().strip() if key_file.exists() else "(script/up without --no-demo makes one)"
    curls = (_CURL.format(url=environment.url, api_key=api_key, question=question) for question in QUESTIONS)
    text = _SCREEN.format(
        url=environment.url,
        demo_password=environment.demo_password,
        api_key=api_key,
        questions="\n".join(curls),
        flower_url=environment.flower_url,
        flower_password=environment.flower_password,
        log=places.log,
        stop=stop,
    )
    with contextlib.suppress(OSError):
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
