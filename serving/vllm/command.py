"""The command line and the environment of one replica."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from indexing.errors import SettingsError
from serving.vllm.settings import VllmSettings

_QUERY = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
_PATIENCE_S = 10.0
# Sent nowhere: vLLM reports usage unless told not to.
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_DO_NOT_TRACK": "1"}


def gpu_memory_gb() -> list[float]:
    """Return each GPU's memory in GB; empty without an NVIDIA driver."""
    if shutil.which(_QUERY[0]) is None:
        return []
    try:
        told = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    except (subprocess.SubprocessError, OSError):
        return []
    return [float(line) / 1024 for line in told.stdout.split() if line.replace(".", "").isdigit()]


def on_cpu(settings: VllmSettings) -> bool:
    """Whether the CPU build is what runs here."""
    return settings.device == "cpu" or (settings.device == "auto" and not gpu_memory_gb())


def arguments(settings: VllmSettings, replica: int, extra: tuple[str, ...] = ()) -> list[str]:
    """Return the command of one replica.

    Prefix caching, and the cached tokens in every answer's usage: without the
    second nobody could say what the first is worth.  ``-P`` keeps this
    package's folder, which has a ``vllm`` of its own, off the module path.
    """
    model = settings.model
    if Path(model).expanduser().is_dir():
        model = str(Path(model).expanduser().absolute())
    return [
        str(settings.python),
        "-P",
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        model,
        "--served-model-name",
        Path(settings.model).name if Path(settings.model).is_dir() else settings.model,
        "--host",
        settings.host,
        "--port",
        str(settings.port + replica),
        "--enable-prefix-caching",
        "--enable-prompt-tokens-details",
        "--max-model-len",
        str(settings.max_model_len),
        "--tensor-parallel-size",
        str(settings.tensor_parallel),
        *extra,
    ]


def environment(
    settings: VllmSettings, replica: int, base: Mapping[str, str], *, cpu: bool, api_key: str | None = None
) -> dict[str, str]:
    """Return the environment of one replica.

    Raises:
        SettingsError: there are fewer GPUs than the replicas need.
    """
    made = {**base, **_QUIET}
    # This process's own environment must not leak into the other one.
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        made.pop(name, None)
    if Path(settings.model).expanduser().is_dir():
        made["HF_HUB_OFFLINE"] = "1"
    if api_key is not None:
        made["VLLM_API_KEY"] = api_key
    if cpu:
        made["VLLM_CPU_KVCACHE_SPACE"] = f"{settings.kv_cache_gb:g}"
        made["VLLM_CPU_OMP_THREADS_BIND"] = settings.threads
    if settings.gpus:
        needed = settings.replicas * settings.tensor_parallel
        if len(settings.gpus) < needed:
            raise SettingsError(
                f"{settings.replicas} replicas of {settings.tensor_parallel} GPUs need {needed} GPUs; "
                f"--gpus names {len(settings.gpus)}"
            )
        first = replica * settings.tensor_parallel
        mine = settings.gpus[first : first + settings.tensor_parallel]
        made["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, mine))
    return made
