"""Credentials from a plugin of client.authentication.k8s.io (client-go's plugin/pkg/client/auth/exec/exec.go)."""

import base64
import errno
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from kproxy import process
from kproxy.client.credentials.cache import Cache
from kproxy.client.credentials.exec_answer import PluginAnswer, decode_answer
from kproxy.client.credentials.exec_config import ExecConfig, InteractiveMode, require_valid
from kproxy.client.credentials.exec_facts import Called, CallStatus, Rotated, tell, tell_end
from kproxy.client.credentials.masking import last_line
from kproxy.client.credentials.tokens import authorization
from kproxy.client.target import ClientCertificate
from kproxy.client.x509 import validity
from kproxy.errors import EnvironmentLacking, InputError, InvalidField, KproxyError
from kproxy.state.printable import one_line

_log = logging.getLogger(__name__)

_INFO = "KUBERNETES_EXEC_INFO"

_PATIENCE_S = 60.0
"""How long a plugin may run. client-go waits for ever.

A plugin asks one or two servers, with time-outs of 30 s as a rule.
"""

_PATIENCE_WITH_A_PERSON_S = 600.0
"""How long a plugin may run with a person at a terminal, who needs a browser, a password and a second factor."""

_MOST_BYTES = 1 << 20
"""Bound of a plugin's output. Go's servers accept no headers longer than 1 MiB; certificate chains are much shorter."""

_LEAST_USE_S = 1.0
"""How long an answer is used that was already expired. Connections that begin together then run the plugin once."""


_SECRET_FLAG = re.compile(r"--?[a-z-]*(token|password|secret|key)[a-z-]*", re.IGNORECASE)
_SECRET_FIELD = re.compile(rb"(?:token|clientKeyData)\"?\s*:\s*\"?([^\"\s]+)")
_LONG_WORD = re.compile(rb"[^\s\"',:{}\[\]]{16,}")


class ExecPlugin:
    """The credentials of one connection, from a plugin that all connections with an equal configuration share.

    One process of the plugin runs at a time, and only if credentials are needed for the first time, have expired or
    were refused. Other threads wait for its answer, or share its failure.
    """

    def __init__(self, config: ExecConfig) -> None:
        """Raise InputError for a configuration that client-go refuses too."""
        try:
            require_valid(config)
        except InvalidField as invalid:
            raise InputError(f"{config.origin} cannot be used: {invalid}") from invalid
        self._plugin = _plugins.of(config)
        self._used = threading.local()

    def headers(self) -> Mapping[str, str]:
        """EnvironmentLacking if the plugin is missing, fails, hangs or gives no credentials."""
        return authorization(self._answer().token, "the token of the credential plugin")

    def certificate(self) -> ClientCertificate | None:
        """Raises the same errors as `headers`."""
        return self._answer().certificate

    def refused(self) -> None:
        """Run the plugin again before the next request, unless it has run since this thread's last request."""
        self._plugin.outdate(getattr(self._used, "answer", None))

    def _answer(self) -> PluginAnswer:
        answer = self._plugin.answer()
        self._used.answer = answer
        return answer


class _Plugin:
    """A plugin, its last answer, and how its last run ended."""

    def __init__(self, config: ExecConfig) -> None:
        self._config = config
        self._named = f"the credential plugin {one_line(config.command)} of {config.origin}"
        self._answer: PluginAnswer | None = None
        self._serves_until = 0.0
        self._is_refused = False
        self._failure = ""
        self._failed_at = 0.0
        self._lock = threading.Lock()

    def answer(self) -> PluginAnswer:
        """The last answer while it is valid, otherwise a new answer. EnvironmentLacking if the plugin gives none."""
        asked_at = time.monotonic()
        with self._lock:
            if self._answer is not None and not self._is_refused and not self._is_expired(self._answer):
                return self._answer
            if self._failed_at > asked_at:
                raise EnvironmentLacking(self._failure)  # the failure of the run for which this thread waited
            try:
                renewed = self._run()
            except KproxyError as failure:
                self._failure, self._failed_at = str(failure), time.monotonic()
                raise EnvironmentLacking(self._failure) from failure
            before, self._answer = self._answer, renewed
            self._is_refused = False
            self._tell_rotation(before, renewed)
            return renewed

    def outdate(self, answer: PluginAnswer | None) -> None:
        """Stop using this answer, if it is still in use."""
        with self._lock:
            self._is_refused |= answer is self._answer

    def _is_expired(self, answer: PluginAnswer) -> bool:
        is_over = answer.expires_at is not None and time.time() > answer.expires_at
        return is_over and time.monotonic() > self._serves_until

    def _run(self) -> PluginAnswer:
        said = self._ask(self._program(), has_terminal=self._has_terminal())
        self._require_success(said)
        answer = decode_answer(said.output, self._config.api_version, self._named)
        if self._is_expired(answer):
            self._serves_until = time.monotonic() + _LEAST_USE_S
            _log.warning(
                "%s answers with credentials that have expired; check its cache and this node's clock",
                self._named,
            )
        return answer

    def _ask(self, program: Path, *, has_terminal: bool) -> process.Answer:
        info = exec_info(self._config, has_terminal=has_terminal)
        try:
            return process.ask(
                program,
                self._config.args,
                {**os.environ, **dict(self._config.env), _INFO: info},
                has_terminal=has_terminal,
                timeout_s=_PATIENCE_WITH_A_PERSON_S if has_terminal else _PATIENCE_S,
                most_bytes=_MOST_BYTES,
            )
        except process.NotStarted as refused:
            tell(Called(1, CallStatus.NOT_FOUND))
            is_too_large = isinstance(refused.__cause__, OSError) and refused.__cause__.errno == errno.E2BIG
            advice = "; shorten its arguments, exec.env, or the authority that provideClusterInfo gives it"
            raise EnvironmentLacking(
                f"{self._named} is not run: {refused}{advice if is_too_large else ''}"
            ) from refused

    def _program(self) -> Path:
        """The path of the plugin, found as by Go's exec.LookPath."""
        command = self._config.command
        if "/" in command:
            path = Path(command)
            is_program = os.path.isfile(path) and os.access(path, os.X_OK)  # noqa: PTH113 # Path's may raise
            found, aside = path if is_program else None, ""
        else:
            path = Path(command)
            found, aside = process.find(command), process.unused_program_note(command)
        if found is None:
            tell(Called(1, CallStatus.NOT_FOUND))
            hint = one_line(self._config.install_hint) or (
                "put its arguments into exec.args"
                if " " in command
                else "install it, or correct exec.command"
            )
            raise EnvironmentLacking(
                f"{self._named} is not installed: {one_line(str(path))} is not a program that we may run"
                f"{aside}; {hint}"
            )
        return found

    def _has_terminal(self) -> bool:
        """Whether the plugin gets our stdin. EnvironmentLacking if the plugin needs a terminal and stdin is none."""
        mode = self._config.mode
        is_there = mode is not InteractiveMode.NEVER and _is_at_a_terminal()
        if mode is InteractiveMode.ALWAYS and not is_there:
            raise EnvironmentLacking(
                f"{self._named} needs a person (exec.interactiveMode is Always), and stdin is not a terminal; "
                "use a plugin that needs no person, with interactiveMode Never"
            )
        return is_there

    def _require_success(self, said: process.Answer) -> None:
        is_well = said.exit_code == 0 and not said.problem
        status = CallStatus.NO_ERROR if is_well else CallStatus.EXECUTION_ERROR
        tell(Called(said.exit_code if said.exit_code >= 0 and not said.problem else -1, status))
        if is_well:
            return
        ended = said.problem or (
            f"it failed with exit code {said.exit_code}"
            if said.exit_code > 0
            else f"signal {-said.exit_code} ended it"
        )
        words = last_line(said.complaint.decode(errors="replace"), self._secrets(said.output))
        if not words:
            ended += ", without a message; run it by hand to see why"
        raise EnvironmentLacking(": ".join(filter(None, (self._named, ended, words))))

    def _secrets(self, output: bytes) -> Iterator[str]:
        """The secrets in the configuration and the answers of the plugin, which its messages may repeat."""
        yield from (value for _, value in self._config.env)
        is_secret = False
        for argument in self._config.args:
            flag, _, value = argument.partition("=")
            if is_secret:
                yield argument
            is_secret = bool(_SECRET_FLAG.fullmatch(flag))
            if is_secret and value:
                yield value
        if self._answer is not None:
            yield self._answer.token
        for pattern in (_LONG_WORD, _SECRET_FIELD):
            yield from (word.decode(errors="replace") for word in pattern.findall(output))

    def _tell_rotation(self, before: PluginAnswer | None, now: PluginAnswer) -> None:
        old = before.certificate if before else None
        if old is not None and old != now.certificate and (span := validity(old.certificate)):
            tell(Rotated(time.time() - span.begins_at))
        span = validity(now.certificate.certificate) if now.certificate else None
        tell_end(self, span.ends_at if span else None)


_plugins: Cache[ExecConfig, _Plugin] = Cache(_Plugin)


def exec_info(config: ExecConfig, *, has_terminal: bool) -> str:
    """The text of KUBERNETES_EXEC_INFO, which is an ExecCredential without a status."""
    spec: dict[str, object] = {"interactive": has_terminal}
    if (cluster := config.cluster) is not None:
        optional = {
            "tls-server-name": cluster.tls_server_name,
            "insecure-skip-tls-verify": not cluster.is_verified,
            "certificate-authority-data": base64.b64encode(cluster.authority).decode(),
            "proxy-url": cluster.proxy_url,
            "disable-compression": not cluster.takes_compressed,
            "config": msgspec.Raw(cluster.extension.encode()) if cluster.extension else None,
        }
        spec["cluster"] = {"server": cluster.server} | {
            key: value for key, value in optional.items() if value
        }
    info = {"kind": "ExecCredential", "apiVersion": config.api_version, "spec": spec}
    return msgspec.json.encode(info).decode()


def _is_at_a_terminal() -> bool:
    """Whether stdin is a terminal for us.

    A job in the background has none: the system would stop it at its first read.
    """
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
