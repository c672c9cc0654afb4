"""Where the agent's log goes and what it looks like: text or JSON, on stderr."""

import json
import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from kproxy.cli.visible import INDENT, indented, on_one_line
from kproxy.configuration.schema import LogFormat, Logging, ModuleVerbosity
from kproxy.errors import ProgramFailed

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_DEBUG_VERBOSITY = 3
"""From here on every sync is logged; klog's levels below it are always."""


class _Text(logging.Formatter):
    """A line for each record, whatever others put into its words; more lines of the same record are indented.

    More lines have tracebacks, and the errors of programs, which quote their input.
    """

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # logging's name
        arguments = record.args if isinstance(record.args, tuple) else ()
        quotes_input = any(isinstance(argument, ProgramFailed) for argument in arguments)
        record.message = (indented if quotes_input else on_one_line)(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 # logging's name
        return f"{INDENT}{indented(super().formatException(ei))}"


class _Remark(logging.Formatter):
    """Without a time and a place, which say nothing to a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return f"kproxy: {on_one_line(record.getMessage())}"


class _Json(logging.Formatter):
    """One object a line, with the keys of Kubernetes' components: `v` of what is no error, `err` of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": round(record.created * 1000, 3),
            "caller": f"{record.name.replace('.', '/')}.py:{record.lineno}",
            "msg": record.getMessage(),
        }
        if record.levelno < logging.WARNING:
            line["v"] = 0 if record.levelno >= logging.INFO else _DEBUG_VERBOSITY
        else:
            line["severity"] = record.levelname.lower()
        if record.exc_info:
            line["err"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _Verbosity(logging.Filter):
    """Lets debugging lines pass where the module's verbosity, else everybody's, asks for them."""

    def __init__(self, verbosity: int, modules: Sequence[ModuleVerbosity]) -> None:
        super().__init__()
        self._verbosity = verbosity
        self._modules = modules

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.INFO:
            return True
        module = record.name.rpartition(".")[2]
        wanted = next(
            (each.verbosity for each in self._modules if fnmatchcase(module, each.file_pattern)),
            self._verbosity,
        )
        return wanted >= _DEBUG_VERBOSITY


def set_up_logging(configured: Logging) -> None:
    """For the rest of this process; libraries are heard from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(configured.format))
    handler.addFilter(_Verbosity(configured.verbosity, configured.vmodule))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("kproxy").setLevel(logging.DEBUG)


def log_warnings_as_remarks() -> None:
    """For a command that a person looks at: what is wrong and costs nothing, as `tell` says it."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Remark())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def formatter(chosen: LogFormat) -> logging.Formatter:
    """Makes one line of each record, whatever others put into its words; see `_Text` for what has more lines."""
    return _Json() if chosen is LogFormat.JSON else _Text()
