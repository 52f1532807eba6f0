"""Structured logs to standard error: readable lines on a terminal, JSON elsewhere. Event names are stable snake_case."""

import logging
import sys

import structlog

__all__ = ["configure_logging"]


_TALKATIVE = ("cassandra", "faust", "mode", "aiokafka")
"""Libraries that print tracebacks of what this product waits out, or says in a line of its own."""


def configure_logging(level: str = "info") -> None:
    """Set up structlog for this process, and send the libraries' own warnings through the standard handler."""
    minimum = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(minimum, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True)
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(max(minimum, logging.CRITICAL) if minimum > logging.DEBUG else logging.DEBUG)
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
