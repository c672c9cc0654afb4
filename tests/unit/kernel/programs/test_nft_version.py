"""Which kernels and programs nftables mode refuses, so that no nft of the node crashes over its table."""

import logging
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.errors import EnvironmentLacking
from kproxy.kernel.programs.nft_version import SKIP, require_versions

OLD = [
    ("5.12.19", "1.0.6", "kernel 5.12.19 is older than 5.13"),
    ("4.18.0-553.el8.x86_64", "1.0.4", "kernel 4.18.0-553.el8.x86_64 is older than 5.13"),
    ("5.10.0-30-amd64", "", "kernel 5.10.0-30-amd64 is older than 5.13"),
    ("5.4", "1.0.6", "kernel 5.4 is older than 5.13"),
    ("6.1.0", "0.9.8", "nft 0.9.8, at "),
    ("6.1.0", "1.0.0", "nft 1.0.0, at "),
    ("6.1.0", "1.0", "nft 1.0, at "),
]


@pytest.mark.parametrize(("release", "nft", "said"), OLD)
def test_old_kernel_or_program_is_refused_with_the_way_out(release: str, nft: str, said: str) -> None:
    with pytest.raises(EnvironmentLacking) as lacking:
        require_versions(release, nft, {SKIP: ""})
    assert said in str(lacking.value)
    assert "0.9.8 of Debian 11" in str(lacking.value)
    assert "--proxy-mode iptables" in str(lacking.value)
    assert f"{SKIP}=1" in str(lacking.value)


@pytest.mark.parametrize(("release", "nft", "said"), OLD)
def test_old_kernel_or_program_is_only_told_where_the_check_is_turned_off(
    release: str, nft: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    require_versions(release, nft, {SKIP: "yes"})
    assert said in caplog.text
    assert "0.9.8 of Debian 11" in caplog.text


@pytest.mark.parametrize("release", ["5.13", "5.13-rc1", "5.13.0", "6.1.0-21-amd64", "6.18.44+", "10.0"])
@pytest.mark.parametrize("nft", ["1.0.1", "1.0.6", "1.1.3", "2.0", "", "git"])
def test_others_are_taken_and_which_programs_cannot_read_the_table_is_told(
    release: str, nft: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        require_versions(release, nft, {})
    assert "an nft older than 1.0.1 (such as 0.9.8 of Debian 11) crashes" in caplog.text


@given(st.text() | st.from_regex(r"[0-9.\-a-z]*"), st.text() | st.from_regex(r"v?[0-9.]*"))
def test_odd_releases_and_versions_are_never_a_defect(release: str, nft: str) -> None:
    with suppress(EnvironmentLacking):
        require_versions(release, nft, {})


@pytest.mark.parametrize("release", ["", "garbage", "v6.1", "6", "\u0665.\u0661\u0663", "5.9999999999"])
def test_release_that_cannot_be_read_is_taken_and_told(
    release: str, caplog: pytest.LogCaptureFixture
) -> None:
    require_versions(release, "1.0.6", {})
    assert f"whether kernel {release!r} is older than 5.13 cannot be told" in caplog.text
