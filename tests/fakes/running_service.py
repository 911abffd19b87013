"""The real service over a real embedded index on a port of loopback, with keys, in the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from indexing.settings import Settings, load_settings
from serving.access.keys import KeyStore
from serving.app import create_app
from serving.server import Server, uvicorn_config
from serving.state import open_service
from tests.fakes.listening import PATIENCE_S, listening


@dataclass
class RunningService:
    url: str
    settings: Settings
    keys: KeyStore

    def key(self, tenant: str, *scopes: str) -> str:
        return self.keys.create(tenant, tenants=[tenant], scopes=list(scopes or ("read",))).text()

    async def finished(self, job_id: str, key: str) -> None:
        """Wait until an indexing job has succeeded."""
        headers = {"authorization": f"Bearer {key}"}
        until = time.monotonic() + PATIENCE_S
        async with httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False) as client:
            while (job := (await client.get(f"/v1/jobs/{job_id}")).json())["state"] in ("queued", "running"):
                assert time.monotonic() < until, job
                await asyncio.sleep(0.1)
        assert job["state"] == "succeeded", job


@contextlib.asynccontextmanager
async def running_service(home: Path, **sections: object) -> AsyncIterator[RunningService]:
    """Run a service that asks for keys; what it prints when it is ready goes to stdout as ever."""
    sections["serving"] = {"require_keys": True, "port": 0, "deadline_s": 60, **sections.get("serving", {})}  # type: ignore[dict-item]
    settings = load_settings(home=home, encoders={"threads": 1}, collection={"idle_exit_s": 1}, **sections)
    service = await open_service(settings)
    server = Server(uvicorn_config(settings, create_app(settings, service)))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    keys = KeyStore(settings.home)
    try:
        async with listening(server) as there:
            try:
                yield RunningService(f"http://127.0.0.1:{there.port}", settings, keys)
            finally:
                server.force_exit = True
    finally:
        await service.close()
        keys.close()
