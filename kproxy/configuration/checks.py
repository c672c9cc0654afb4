"""The rules of kube-proxy for a configuration, beyond the types of its fields."""

from collections.abc import Callable

from kproxy.client.accept import check_accepted, check_content_type
from kproxy.configuration.schema import Configuration, Mode, RuleOptions
from kproxy.configuration.units import IFNAMSIZ, check_interface
from kproxy.errors import InputError, InvalidField
from kproxy.model.settings import DetectLocalMode

_INT32_MAX = 2**31 - 1


def check_configuration(configuration: Configuration) -> None:
    """Raise InvalidField for the first field that breaks a rule."""
    _check_range("iptables.masqueradeBit", configuration.iptables.masquerade_bit, 0, 31)
    if configuration.mode is Mode.NFTABLES:
        _check_range("nftables.masqueradeBit", configuration.nftables.masquerade_bit, 0, 31)
        _check_periods("nftables", configuration.nftables)
    else:
        _check_periods("iptables", configuration.iptables)
    _check_positive("configSyncPeriod", configuration.config_sync_period_s)
    _check_range("oomScoreAdj", configuration.oom_score_adj, -1000, 1000)
    _check_range("conntrack.maxPerCore", configuration.conntrack.max_per_core, 0, _INT32_MAX)
    _check_range("conntrack.min", configuration.conntrack.min, 0, _INT32_MAX)
    _check_range("clientConnection.burst", configuration.client_connection.burst, 0, _INT32_MAX)
    asking = configuration.client_connection
    _check_content("clientConnection.contentType", asking.content_type, check_content_type)
    _check_content("clientConnection.acceptContentTypes", asking.accept_content_types, check_accepted)
    _check_range("logging.verbosity", configuration.logging.verbosity, 0, _INT32_MAX)
    _check_local_detection(configuration)


def _check_periods(section: str, options: RuleOptions) -> None:
    """Check the two periods. A minSyncPeriod of 0 is allowed, and writes every change at once."""
    _check_positive(f"{section}.syncPeriod", options.sync_period_s)
    if options.min_sync_period_s > options.sync_period_s:
        raise InvalidField(
            f"{section}.minSyncPeriod",
            f"{options.min_sync_period_s:g}s is longer than syncPeriod, which is {options.sync_period_s:g}s",
        )


def _check_positive(field: str, length_s: float) -> None:
    if length_s <= 0:
        raise InvalidField(field, f"{length_s:g}s is not a time to wait; write more than 0s")


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidField(field, f"{value} is not from {low} to {high}")


def _check_content(field: str, text: str, check: Callable[[str], None]) -> None:
    try:
        check(text)
    except InputError as wrong:
        raise InvalidField(field, str(wrong)) from None


def _check_local_detection(configuration: Configuration) -> None:
    detect = configuration.detect_local
    match configuration.detect_local_mode:
        case DetectLocalMode.BRIDGE_INTERFACE:
            _check_interface("detectLocal.bridgeInterface", detect.bridge_interface, IFNAMSIZ - 1)
        case DetectLocalMode.INTERFACE_NAME_PREFIX:
            # one character less, because iptables counts the + that stands for the rest
            _check_interface("detectLocal.interfaceNamePrefix", detect.interface_name_prefix, IFNAMSIZ - 2)


def _check_interface(field: str, name: str, room: int) -> None:
    try:
        check_interface(name, room=room)
    except ValueError as wrong:
        raise InvalidField(field, str(wrong)) from wrong
