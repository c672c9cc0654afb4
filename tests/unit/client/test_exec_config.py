"""The `exec` blocks that client-go's tools/clientcmd/validation.go refuses."""

from dataclasses import replace
from typing import Any

import pytest

from kproxy.client.credentials.exec_config import V1, V1BETA1, ClusterInfo, ExecConfig, InteractiveMode
from kproxy.client.credentials.exec_plugin import ExecPlugin
from kproxy.errors import InputError

SOUND = ExecConfig(
    command="plugin",
    api_version=V1,
    origin="the kubeconfig /etc/kubeconfig",
    interactive_mode="Never",
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": ""}, "exec.command: it is missing"),
        ({"api_version": ""}, "exec.apiVersion: '' is not one of"),
        (
            {"api_version": "client.authentication.k8s.io/v2"},
            "is not one of client.authentication.k8s.io/v1, ",
        ),
        ({"api_version": "client.authentication.k8s.io/v1alpha1"}, "was removed in Kubernetes 1.24; write"),
        (
            {"interactive_mode": ""},
            "exec.interactiveMode: it is missing; write one of Never, IfAvailable, Always",
        ),
        (
            {"interactive_mode": "never"},
            "exec.interactiveMode: 'never' is not one of Never, IfAvailable, Always",
        ),
        ({"api_version": V1BETA1, "interactive_mode": "x"}, "exec.interactiveMode: 'x' is not one of"),
        ({"env": (("", "x"),)}, r"exec.env\[0\].name: '' is not a name of a variable"),
        ({"env": (("A", "x"), ("A=B", "x"))}, r"exec.env\[1\].name: 'A=B' is not a name of a variable"),
        ({"env": (("A", "sesame\0"),)}, r"exec.env\[0\]: it has a character that no program can get"),
        ({"args": ("sesame\ud800",)}, "exec: it has a character that no program can get"),
        ({"command": "plug\0in"}, "exec: it has a character that no program can get"),
    ],
)
def test_block_that_cannot_be_used_is_refused_with_place_and_fix(change: dict[str, Any], said: str) -> None:
    with pytest.raises(
        InputError, match=f"the kubeconfig /etc/kubeconfig cannot be used: .*{said}"
    ) as refused:
        ExecPlugin(replace(SOUND, **change))
    assert "sesame" not in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("version", [V1, V1BETA1])
@pytest.mark.parametrize("mode", [*InteractiveMode])
def test_block_with_each_version_and_mode_is_accepted(version: str, mode: InteractiveMode) -> None:
    ExecPlugin(replace(SOUND, api_version=version, interactive_mode=mode.value))
    assert mode == replace(SOUND, api_version=version, interactive_mode=mode.value).mode


def test_absent_mode_of_v1beta1_is_if_available() -> None:
    assert InteractiveMode.IF_AVAILABLE is replace(SOUND, api_version=V1BETA1, interactive_mode="").mode


def test_secrets_are_not_shown_by_repr() -> None:
    cluster = ClusterInfo(
        "https://api", authority=b"sesame", proxy_url="http://u:sesame@proxy", extension='"sesame"'
    )
    config = replace(SOUND, args=("--token=sesame",), env=(("A", "sesame"),), cluster=cluster)
    assert "sesame" not in repr((config, ExecPlugin(config)))
