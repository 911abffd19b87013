"""How vLLM is started."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from indexing.settings import Section


class VllmSettings(Section):
    """One model on one machine, once or several times."""

    model: str = Field(min_length=1, description="a model folder, or a name that vLLM can download")
    host: str = "127.0.0.1"
    port: int = Field(8001, ge=1, le=65000, description="of the first replica; the others follow")
    replicas: int = Field(1, ge=1, le=64)
    tensor_parallel: int = Field(1, ge=1, le=64, description="GPUs that share one replica's weights")
    gpus: tuple[int, ...] = Field((), description="dealt out to the replicas; empty: vLLM decides")
    max_model_len: int = Field(12_288, ge=256, description="tokens of a prompt and its answer")
    kv_cache_gb: float = Field(4.0, gt=0, description="of the CPU build; a GPU takes what is free")
    threads: str = Field("auto", description="CPU build: cores of each replica, e.g. 0-7")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    ready_timeout_s: float = Field(900.0, gt=0)
    stop_timeout_s: float = Field(20.0, gt=0)
    restarts: int = Field(3, ge=0, description="times a replica that dies within an hour is started again")
    environment: Path = Field(Path(".winnow/vllm-env"), description="virtual environment that holds vLLM")
    state: Path = Field(Path(".winnow/vllm"), description="logs and process ids")

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.environment.expanduser().absolute() / "bin" / "python"

    def url(self, replica: int) -> str:
        """The base address of one replica."""
        return f"http://{self.host}:{self.port + replica}"

    @property
    def urls(self) -> str:
        """What ``generation.url`` is set to."""
        return ",".join(self.url(replica) for replica in range(self.replicas))
