"""Opens the health and the metrics server where they are configured, and keeps trying if they cannot be had."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from kproxy.agent.web import Answer, WebServer
from kproxy.configuration.units import UNSPECIFIED, ServerAddress
from kproxy.errors import EnvironmentLacking

_log = logging.getLogger(__name__)

_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Servers:
    """`complain` is called with an Event's reason and what went wrong; `hard_fail` is bindAddressHardFail."""

    web: WebServer
    hard_fail: bool
    complain: Callable[[str, str], object]
    _stopping: threading.Event = field(default_factory=threading.Event)

    def open(self, name: str, address: ServerAddress, answer: Answer, *, failure: str) -> None:
        """Listen there, now or as soon as the address is free; an empty one turns the server off.

        Either wildcard stands for every address of both families, as Go has it.
        EnvironmentLacking if it is not free and `hard_fail` says that this ends the agent.
        """
        if not address or self._listens(name, address, answer, failure):
            return
        if self.hard_fail:
            raise EnvironmentLacking(
                f"the {name} server cannot listen on {address}; free the address, or set bindAddressHardFail to false"
            )

        def retry() -> None:
            while not self._stopping.wait(_RETRY_S):
                if self._listens(name, address, answer, failure):
                    return

        threading.Thread(target=retry, name=f"open-{name}", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _listens(self, name: str, address: ServerAddress, answer: Answer, failure: str) -> bool:
        host = "" if address.host in UNSPECIFIED else address.host
        try:
            self.web.listen(host, address.port, answer)
        except OSError as refused:
            told = f"the {name} server cannot listen on {address}: {refused.strerror}"
            _log.error("%s", told)
            self.complain(failure, told)
            return False
        _log.info("the %s server listens on %s", name, address)
        return True
