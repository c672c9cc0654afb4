"""The file descriptors of this process: as many as it may have, and some of them stay free for programs.

The kernel gives the lowest number that is free. The number of a new
descriptor therefore says, without counting, how many are in use at least.
"""

import logging
import resource

_log = logging.getLogger(__name__)

_FOR_PROGRAMS = 64
"""Descriptors that the rules need at one time.

They are the pipes of a program (7), connections to the API server (5), netlink sockets, the record, and files that are
read. The number is twice this sum, because both families and the end of another mode may need them at once.
"""

_FOR_CLIENTS = 64
"""Descriptors that listeners leave to HTTP clients: a node that does not answer probes counts as dead."""

_ENOUGH = 1024
"""The descriptors that a node with 500 health-check node ports in both families needs.

With fewer descriptors, some ports stay closed.
"""


def raise_limit() -> None:
    """Raise this process's limit to its hard limit. A low hard limit is logged with its consequence."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as refused:
            _log.warning("the limit of open files stays at %d instead of %d: %s", soft, hard, refused)
            hard = soft
        else:
            _log.debug("the limit of open files is raised from %d to %d", soft, hard)
    if hard != resource.RLIM_INFINITY and hard < _ENOUGH:
        _log.warning(
            "the hard limit of open files is %d: only some %d health-check node ports can be opened; "
            "raise it to %d or more (LimitNOFILE of a unit, the container runtime's default)",
            hard,
            max(hard - _left_by_listeners(hard), 0),
            _ENOUGH,
        )


def listeners_end() -> int:
    """A listener may keep descriptors below this number: enough are then free for HTTP clients and programs."""
    limit = _limit()
    return limit - _left_by_listeners(limit)


def clients_end() -> int:
    """An HTTP client may keep descriptors below this number: enough are then free for programs."""
    limit = _limit()
    return limit - _left_by_clients(limit)


def limit_in_words() -> str:
    """The limit in words, for a message that it is reached."""
    return f"this process may have {_limit()} files open, and programs and HTTP clients need some of them"


def _limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def _left_by_clients(limit: int) -> int:
    """The number of descriptors that HTTP clients leave free; a quarter of a very low limit."""
    return min(_FOR_PROGRAMS, limit // 4)


def _left_by_listeners(limit: int) -> int:
    """The number of descriptors that listeners leave free; half of a very low limit."""
    return min(_FOR_PROGRAMS + _FOR_CLIENTS, limit // 2)
