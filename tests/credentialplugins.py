"""Credential plugins as programs of their own, and client certificates for them to give."""

import datetime as dt
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from kproxy.client.credentials.exec_config import V1, ExecConfig


class Pair(NamedTuple):
    """A self-signed client certificate and its key, as PEM."""

    certificate: str
    key: str


def make_pair(name: str = "proxy", *, age: dt.timedelta = dt.timedelta(hours=1)) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begins_at = dt.datetime.now(dt.UTC) - age
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(begins_at + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return Pair(
        certificate.public_bytes(Encoding.PEM).decode(),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def in_seconds(seconds: float) -> str:
    """A time from now on as RFC 3339 writes it."""
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def credential(status: object, *, api_version: str = V1, kind: str = "ExecCredential") -> str:
    return json.dumps({"apiVersion": api_version, "kind": kind, "status": status})


@dataclass(frozen=True)
class PluginProgram:
    """A shell script in a folder of its own, which notes each of its runs."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "plugin"

    @property
    def runs(self) -> int:
        noted = self.folder / "runs"
        return len(noted.read_text().split()) if noted.exists() else 0

    def does(self, script: str) -> None:
        """From its next run on."""
        new = self.folder / "new"
        new.write_text(f"#!/bin/sh\necho run >> {shlex.quote(str(self.folder))}/runs\n{script}\n")
        new.chmod(0o755)
        new.replace(self.path)

    def prints(self, text: str) -> None:
        self.does(f"printf %s {shlex.quote(text)}")

    def gives(self, **status: object) -> None:
        self.prints(credential(status))

    def config(
        self,
        *,
        args: tuple[str, ...] = (),
        env: tuple[tuple[str, str], ...] = (),
        interactive_mode: str = "Never",
        install_hint: str = "",
    ) -> ExecConfig:
        return ExecConfig(
            command=str(self.path),
            api_version=V1,
            origin="the kubeconfig /etc/kubeconfig",
            args=args,
            env=env,
            interactive_mode=interactive_mode,
            install_hint=install_hint,
        )
