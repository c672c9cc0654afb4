"""The metrics of a real agent tell of its credential plugin."""

import datetime as dt
import json
from functools import partial
from pathlib import Path

import pytest

from credentialplugins import PluginProgram, make_pair
from kproxy.client.credentials.exec_config import V1
from namespaces import fresh_namespace, inside
from running import NODE, eventually, metric, running_agent
from stubapi import StubApi
from stubapi.manifests import node

pytestmark = pytest.mark.netns

CALLS = 'rest_client_exec_plugin_call_total{{call_status="{}",code="{}"}}'
AGES = "rest_client_exec_plugin_certificate_rotation_age"
DAY_S = 86400


def is_at_least(expected: float, series: str) -> bool:
    return metric(series) >= expected


def test_runs_of_a_plugin_and_its_certificate_are_in_the_metrics(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "plugin"
    folder.mkdir()
    program = PluginProgram(folder)
    first, second = make_pair(age=dt.timedelta(hours=2)), make_pair()
    with fresh_namespace() as name, inside(name), StubApi() as api:
        api.put("Node", node(NODE))
        path = api.write_kubeconfig(tmp_path / "kubeconfig")
        configuration = json.loads(path.read_text())
        plugin = {"apiVersion": V1, "command": str(program.path), "interactiveMode": "Never"}
        configuration["users"][0]["user"] = {"exec": plugin}
        path.write_text(json.dumps(configuration))
        program.does("exit 7")
        with running_agent("--kubeconfig", str(path), log=log):
            eventually(lambda: "the metrics server listens" in log.read_text(), "it has metrics", log)
            eventually(
                partial(is_at_least, 1.0, CALLS.format("plugin_execution_error", 7)), "a run failed", log
            )
            assert float("inf") == metric("rest_client_exec_plugin_ttl_seconds")
            program.gives(token=api.token, clientCertificateData=first.certificate, clientKeyData=first.key)
            eventually(partial(is_at_least, 1.0, CALLS.format("no_error", 0)), "a run succeeded", log)
            api.wait_for_streams("Service", 1)
            assert DAY_S - 2 * 3600 == pytest.approx(metric("rest_client_exec_plugin_ttl_seconds"), abs=60)
            assert 0 == metric(f"{AGES}_count")
            api.rotate_token()
            program.gives(token=api.token, clientCertificateData=second.certificate, clientKeyData=second.key)
            api.close_streams()
            eventually(partial(is_at_least, 1.0, f"{AGES}_count"), "the certificate was replaced", log)
            assert 2 * 3600 == pytest.approx(metric(f"{AGES}_sum"), abs=60)
            assert DAY_S - 3600 == pytest.approx(metric("rest_client_exec_plugin_ttl_seconds"), abs=60)
            program.path.unlink()
            api.rotate_token()
            api.close_streams()
            eventually(
                partial(is_at_least, 1.0, CALLS.format("plugin_not_found_error", 1)), "it is missing", log
            )
