"""The tools that keep the code as it is meant to be, and the documents true."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "mypy"],
        ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
    ],
    ids=["ruff", "format", "mypy", "imports"],
)
def test_the_code_is_clean(command):
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def readme_commands(shell):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{shell}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readme_has_its_two_commands_for_both_shells():
    for shell in ("bash", "powershell"):
        first, second = readme_commands(shell)[:2]
        assert "rtdecode demo" in first and "pytest" in second


def test_ci_runs_the_readmes_own_test_command():
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_within_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    there = [path.parent for name in ("rtdecode", "offline") for path in (ROOT / name).rglob("__init__.py")]
    assert {".".join(path.relative_to(ROOT).parts) for path in there} <= set(listed)


def test_every_command_is_in_the_readme():
    from rtdecode.cli.app import app

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [c.name for c in app.registered_commands if f"rtdecode {c.name}" not in text]
    assert not missing
