"""Opens a server at its configured address, and tries again while the address is taken."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from kproxy.agent.http.page import Answer
from kproxy.agent.http.port_conflict import taken
from kproxy.agent.http.web import WebServer
from kproxy.configuration.units import UNSPECIFIED, ServerAddress
from kproxy.errors import EnvironmentLacking
from kproxy.threads import Need, SupervisedThread

_log = logging.getLogger(__name__)

_RETRY_S = 5.0


class AddressRefused(EnvironmentLacking):
    """An address is not free, and bindAddressHardFail says that this ends the agent."""


@dataclass(frozen=True, slots=True)
class Servers:
    """One server's addresses. `complain` gets an Event's reason and text; `hard_fail` is bindAddressHardFail."""

    web: WebServer
    hard_fail: bool
    complain: Callable[[str, str], object]
    _stopping: threading.Event = field(default_factory=threading.Event)
    _told: set[str] = field(default_factory=set)

    def open(self, name: str, address: ServerAddress, answer: Answer, *, failure: str) -> None:
        """Listen there, now or as soon as the address is free; an empty address turns the server off.

        Either wildcard stands for every address of both families, as Go has it.
        AddressRefused if it is not free and `hard_fail` says that this ends the agent.
        """
        if not address or self._listens(name, address, answer, failure):
            return
        if self.hard_fail:
            raise AddressRefused(
                f"the {name} server cannot listen on {address}; free the address, or set bindAddressHardFail to false"
            )

        def retry() -> None:
            while not self._stopping.wait(_RETRY_S):
                if self._listens(name, address, answer, failure):
                    return

        SupervisedThread(f"open-{name}", retry, Need.REPORTS).start()

    def stop(self) -> None:
        self._stopping.set()

    def _listens(self, name: str, address: ServerAddress, answer: Answer, failure: str) -> bool:
        host = "" if address.host in UNSPECIFIED else address.host
        try:
            self.web.listen(host, address.port, answer)
        except OSError as refused:
            told = f"the {name} server cannot listen on {address}: {taken(address.port, refused)}"
            is_news = told not in self._told
            _log.log(
                logging.ERROR if is_news else logging.DEBUG,
                "%s; it is tried again every %g s",
                told,
                _RETRY_S,
            )
            self._told.add(told)
            self.complain(failure, told)
            return False
        _log.info("the %s server listens on %s", name, address)
        return True
