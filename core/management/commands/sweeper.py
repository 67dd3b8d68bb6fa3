import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from core import sweeper


class Command(BaseCommand):
    help = "Bring back lost work, once a second, until stopped by SIGTERM. Two copies do no harm."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        sweeper.run(sweeper.load_sweeps(settings.SWEEPERS), stopped)
