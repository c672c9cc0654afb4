"""kube-proxy's flags that stand for fields of the configuration."""

from collections.abc import Mapping
from contextlib import suppress

import msgspec

from kproxy.configuration.decode import decode
from kproxy.configuration.encode import encode_configuration, value_at
from kproxy.configuration.schema import API_VERSION, KIND, ZERO_MEANS_DEFAULT, Configuration, Mode
from kproxy.configuration.units import ServerAddress
from kproxy.errors import InvalidField
from kproxy.values import parse_address

FLAGS_BESIDE_CONFIG = frozenset(
    {
        "cleanup",
        "config",
        "hostname-override",
        "init-only",
        "logging-format",
        "master",
        "v",
        "version",
        "vmodule",
        "write-config-to",
    }
)
"""The flags of kube-proxy that still have an effect if a configuration file is given."""

_FIELD_OF = {
    "bind-address": "bindAddress",
    "bind-address-hard-fail": "bindAddressHardFail",
    "cluster-cidr": "clusterCIDR",
    "config-sync-period": "configSyncPeriod",
    "conntrack-max-per-core": "conntrack.maxPerCore",
    "conntrack-min": "conntrack.min",
    "conntrack-tcp-be-liberal": "conntrack.tcpBeLiberal",
    "conntrack-tcp-timeout-close-wait": "conntrack.tcpCloseWaitTimeout",
    "conntrack-tcp-timeout-established": "conntrack.tcpEstablishedTimeout",
    "conntrack-udp-timeout": "conntrack.udpTimeout",
    "conntrack-udp-timeout-stream": "conntrack.udpStreamTimeout",
    "detect-local-mode": "detectLocalMode",
    "feature-gates": "featureGates",
    "healthz-bind-address": "healthzBindAddress",
    "hostname-override": "hostnameOverride",
    "iptables-localhost-nodeports": "iptables.localhostNodePorts",
    "iptables-masquerade-bit": "iptables.masqueradeBit",
    "iptables-min-sync-period": "iptables.minSyncPeriod",
    "iptables-sync-period": "iptables.syncPeriod",
    "kube-api-burst": "clientConnection.burst",
    "kube-api-content-type": "clientConnection.contentType",
    "kube-api-qps": "clientConnection.qps",
    "kubeconfig": "clientConnection.kubeconfig",
    "logging-format": "logging.format",
    "masquerade-all": "iptables.masqueradeAll",
    "metrics-bind-address": "metricsBindAddress",
    "nodeport-addresses": "nodePortAddresses",
    "oom-score-adj": "oomScoreAdj",
    "pod-bridge-interface": "detectLocal.bridgeInterface",
    "pod-interface-name-prefix": "detectLocal.interfaceNamePrefix",
    "profiling": "enableProfiling",
    "proxy-mode": "mode",
    "v": "logging.verbosity",
    "vmodule": "logging.vmodule",
}

_LISTENING = {
    "healthz-bind-address": Configuration().healthz_bind_address,
    "metrics-bind-address": Configuration().metrics_bind_address,
}

_LOGGING_FLAGS = {"logging-format": "format", "v": "verbosity", "vmodule": "vmodule"}


_FIELD_IN_NFTABLES_MODE = {
    "iptables-min-sync-period": "nftables.minSyncPeriod",
    "iptables-sync-period": "nftables.syncPeriod",
    "masquerade-all": "nftables.masqueradeAll",
}
"""These flags concern the running mode, whatever their names say. A file has a field for each mode."""


def decode_flags(flags: Mapping[str, object]) -> Configuration:
    """The configuration that flags stand for if there is no file.

    As in kube-proxy, a time of 0 is 0 and an empty address turns its server off; in a file, both mean the default.
    Raises InvalidField, whose `field` is the flag, such as `--cluster-cidr`.
    """
    try:
        configuration, _ = decode(
            flags_to_data({**flags, **_servers(flags)}), zero_means_default=ZERO_MEANS_DEFAULT
        )
    except InvalidField as wrong:
        raise InvalidField(flag_of(wrong.field, _fields(flags)), wrong.reason) from wrong
    return configuration


def _servers(flags: Mapping[str, object]) -> dict[str, str]:
    """The addresses of the servers from their own flags.

    The flag `--bind-address` does not change them, unlike the field.

    A deprecated flag of kube-proxy gives the port of an address without a port; 0 means no server.
    """
    said = {}
    for flag, default in _LISTENING.items():
        address, port = flags.get(flag), flags.get(flag.replace("bind-address", "port"))
        said[flag] = default if address is None else str(address)
        if port == 0:
            said[flag] = ""
        elif isinstance(port, int):
            with suppress(ValueError):  # an address with a port keeps its port
                said[flag] = ServerAddress.at(parse_address(said[flag]), port)
    return said


def override(configuration: Configuration, flags: Mapping[str, object]) -> Configuration:
    """A file's configuration, changed by the flags that override a file: the node's name and the logging."""
    said = {flag: flags[flag] for flag in _LOGGING_FLAGS if flags.get(flag) is not None}
    by_flag = decode_flags(said).logging
    changes = {_LOGGING_FLAGS[flag]: getattr(by_flag, _LOGGING_FLAGS[flag]) for flag in said}
    logging = msgspec.structs.replace(configuration.logging, **changes)
    name = str(flags.get("hostname-override") or configuration.hostname_override)
    return msgspec.structs.replace(configuration, hostname_override=name, logging=logging)


def flags_to_data(flags: Mapping[str, object]) -> dict[str, object]:
    """The document of a configuration file that would mean the same as these flags.

    Keys are kube-proxy's flags without leading dashes (`cluster-cidr`); values have the field's type in the file. A
    flag that is None was not given. A flag that stands for no field is ignored.
    """
    top: dict[str, object] = {"apiVersion": API_VERSION, "kind": KIND}
    sections: dict[str, dict[str, object]] = {}
    fields = _fields(flags)
    for flag, value in flags.items():
        if value is None or flag not in fields:
            continue
        section, _, field = fields[flag].rpartition(".")
        inside = sections.setdefault(section, {}) if section else top
        inside[field] = value
    return {**top, **sections}


def configuration_to_flags(configuration: Configuration) -> dict[str, str]:
    """The value in force of each flag that stands for a field. Lists are joined by commas."""
    document = encode_configuration(configuration)
    fields = _fields({"proxy-mode": configuration.mode})
    return {flag: _as_text(value_at(document, path)) for flag, path in fields.items()}


def _as_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ",".join(map(_as_text, value))
        case {"filePattern": pattern, "verbosity": verbosity}:
            return f"{pattern}={verbosity}"
        case dict():
            return ",".join(f"{key}={_as_text(each)}" for key, each in sorted(value.items()))
        case _:
            return str(value)


def _fields(flags: Mapping[str, object]) -> Mapping[str, str]:
    nftables = flags.get("proxy-mode") == Mode.NFTABLES
    return _FIELD_OF | _FIELD_IN_NFTABLES_MODE if nftables else _FIELD_OF


def flag_of(path: str, fields: Mapping[str, str] = _FIELD_OF) -> str:
    """The flag of a field, or of the list or mapping that contains the path."""
    return next(
        (
            f"--{flag}"
            for flag, field in fields.items()
            if path == field or path.startswith((f"{field}[", f"{field}."))
        ),
        path,
    )
