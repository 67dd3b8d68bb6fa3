"""One form of log line for web, workers and commands: structlog over the standard library, JSON outside a terminal."""

import logging.config
import sys

import structlog
from django.conf import settings
from structlog.typing import Processor

_shared: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class WithoutHealthChecks(logging.Filter):
    """Drops the lines of health checks, one every few seconds for ever."""

    def filter(self, record: logging.LogRecord) -> bool:
        path = str(record.args[2]) if isinstance(record.args, tuple) and len(record.args) > 2 else ""  # noqa: PLR2004
        return path not in ("/healthz", "/readyz")


def configure() -> None:
    """Send every logger's lines to standard error; called once per process, when Django starts."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": _shared,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.format_exc_info,
                        renderer,
                    ],
                }
            },
            "filters": {"requests": {"()": WithoutHealthChecks}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": settings.LOG_LEVEL},
            "loggers": {
                "httpx2": {"level": "WARNING"},
                "trafilatura": {"level": "ERROR"},
                # Uvicorn has set levels of its own by now.
                "uvicorn": {"handlers": [], "propagate": True, "level": settings.LOG_LEVEL},
                "uvicorn.access": {
                    "handlers": [],
                    "propagate": True,
                    "level": settings.LOG_LEVEL,
                    "filters": ["requests"],
                },
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
