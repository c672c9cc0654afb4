"""The agent's log: text or JSON, on stderr."""

import json
import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from kproxy.configuration.schema import LogFormat, Logging, ModuleVerbosity
from kproxy.errors import ProgramFailed
from kproxy.state.printable import INDENT, escaped, indented

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_DEBUG_VERBOSITY = 3
"""The lowest verbosity at which every sync is logged. Lines of klog's lower levels are always logged."""


class _Text(logging.Formatter):
    """One line per record, whatever text from outside its message contains. Further lines of a record are indented.

    Only tracebacks and the errors of programs, which quote their input, have further lines.
    """

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # logging's name
        arguments = record.args if isinstance(record.args, tuple) else ()
        quotes_input = any(isinstance(argument, ProgramFailed) for argument in arguments)
        record.message = (indented if quotes_input else escaped)(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 # logging's name
        return f"{INDENT}{indented(super().formatException(ei))}"


class _Remark(logging.Formatter):
    """A line without a time and a place, which a person at a terminal does not need."""

    def format(self, record: logging.LogRecord) -> str:
        return f"kproxy: {escaped(record.getMessage())}"


class _Json(logging.Formatter):
    """One JSON object per line, with the keys of Kubernetes' components.

    `v` is for messages below warnings, `err` for tracebacks.
    """

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
    """Lets debugging lines pass if the module's verbosity, otherwise the general verbosity, is high enough."""

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
    """Set up the log for the rest of this process. Libraries log from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(configured.format))
    handler.addFilter(_Verbosity(configured.verbosity, configured.vmodule))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("kproxy").setLevel(logging.DEBUG)


def log_warnings_as_remarks() -> None:
    """Set up the log of a command for a person: warnings look as `tell` writes them."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Remark())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def formatter(chosen: LogFormat) -> logging.Formatter:
    """A formatter that makes one line of each record; see `_Text` for records with more lines."""
    return _Json() if chosen is LogFormat.JSON else _Text()
