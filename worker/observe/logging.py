"""Log lines of the worker: one line an event, key=value, UTC, never screened text."""

import logging
import logging.config
import time


class UtcFormatter(logging.Formatter):
    """ISO 8601 times in UTC with milliseconds."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


def configure_logging(level: str) -> None:
    """Log to the error stream. Libraries speak at WARNING, so that they do not quote what they handle."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": UtcFormatter, "format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {"worker": {"level": level}, "tasks": {"level": level}},
        }
    )
