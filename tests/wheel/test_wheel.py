"""What users install: the built wheel, in an environment that the source tree is no part of."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CLUSTER = REPOSITORY / "tests" / "conformance" / "recorded" / "catalogue" / "dual-stack"
SOURCE_KPROXY = Path(sys.executable).with_name("kproxy")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without isolation: what builds it is in the lock of this environment."""
    directory = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        directory,
        cwd=REPOSITORY,
    )
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment with the wheel; the other packages are this environment's.

    They come in by a line of a .pth file, which names their directory and leaves that directory's own .pth
    files unread, the one of the editable kproxy among them.
    """
    root = tmp_path_factory.mktemp("installed")
    venv.create(root, with_pip=False, symlinks=True)
    python = root / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=root,
    )
    (site_packages,) = root.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return root / "bin"


def run(*command: str | Path, cwd: Path) -> str:
    """What the program wrote; it and its children find no Python code but their environment's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONSAFEPATH"] = "1"  # the working directory holds the source tree
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_wheel_holds_all_templates_and_no_test(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    templates = {
        f"kproxy/templates/{path.relative_to(REPOSITORY / 'templates')}"
        for path in (REPOSITORY / "templates").rglob("*.j2")
    }
    assert templates
    assert templates == {name for name in names if name.endswith(".j2")}
    assert {"kproxy"} == {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert "kproxy/py.typed" in names


def test_installed_package_is_not_the_source_tree(installed: Path, tmp_path: Path) -> None:
    found = run(installed / "python", "-c", "import kproxy; print(kproxy.__file__)", cwd=tmp_path)
    assert Path(found).is_relative_to(installed.parent)


@pytest.mark.parametrize("program", ["kproxy", "kubectl-kproxy"])
def test_installed_program_tells_the_version_of_the_source_tree(
    program: str, installed: Path, tmp_path: Path
) -> None:
    assert run(SOURCE_KPROXY, "--version", cwd=tmp_path) == run(
        installed / program, "--version", cwd=tmp_path
    )


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_installed_program_renders_as_the_source_tree_does(
    family: str, installed: Path, tmp_path: Path
) -> None:
    arguments = (
        *("render", "-f", CLUSTER / "objects.json", "--config", CLUSTER / "config.yaml"),
        *("--family", family, "--nfacct", "off"),
    )
    rules = run(SOURCE_KPROXY, *arguments, cwd=tmp_path)
    assert "KUBE-SERVICES" in rules
    assert rules == run(installed / "kproxy", *arguments, cwd=tmp_path)


PACKAGED = ("cli", "model", "render", "ruleset", "state", "trace", "transaction")
"""The tests of layers that a wheel could break, by leaving out a module, a template or a data file."""


@pytest.mark.long
def test_unit_tests_of_what_is_packaged_pass_against_the_wheel(installed: Path) -> None:
    said = run(
        installed / "python",
        *("-m", "pytest", "--quiet", "-p", "no:cacheprovider"),
        *(f"tests/unit/{layer}" for layer in PACKAGED),
        "tests/property/test_rule_text.py",
        cwd=REPOSITORY,
    )
    assert " passed" in said
