"""The process that reads one PDF or DOCX: ``python -m knowledge.files.child KIND PAGES CHARS SECONDS BYTES``.

The file comes in on stdin, a JSON object goes out on stdout. It has no settings, no database, no secrets in its
environment, and the system ends it when it takes more memory or time than it was given.
"""

import json
import logging
import resource
import sys
import time
import warnings
from dataclasses import asdict

from knowledge.files import docx, pdf
from knowledge.files.outcome import Limits, Outcome

_READERS = {"pdf": pdf.read, "docx": docx.read}
_CPU_SECONDS_OVER = 5


def main() -> None:
    kind, pages, chars, seconds, memory = sys.argv[1], *map(int, sys.argv[2:6])
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds + _CPU_SECONDS_OVER),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    warnings.simplefilter("ignore")
    logging.disable()
    try:
        outcome = _READERS[kind](sys.stdin.buffer.read(), Limits(pages, chars, time.monotonic() + seconds))
    except MemoryError:
        outcome = Outcome(error="too_large")
    sys.stdout.write(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
