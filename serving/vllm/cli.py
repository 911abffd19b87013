"""``python -m serving.vllm MODEL``: install, start and watch vLLM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexing.command_line import exit_code_of
from indexing.errors import InputError, SettingsError

if TYPE_CHECKING:
    from serving.vllm.settings import VllmSettings

_SUPERVISOR, _PROGRAM = "supervisor.pid", b"serving.vllm"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Run vLLM with the flags a retrieval service needs. Options it does not know go to vLLM.",
)
def run(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="A model folder, or a name that vLLM downloads.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the first replica.")] = 8001,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    replicas: Annotated[int, typer.Option(help="Servers, each with the whole model.")] = 1,
    tensor_parallel: Annotated[int, typer.Option(help="GPUs that share one replica.")] = 1,
    gpus: Annotated[str, typer.Option(help="GPU numbers for the replicas, by comma.")] = "",
    max_model_len: Annotated[int, typer.Option(help="Tokens of a prompt and its answer.")] = 12_288,
    kv_cache_gb: Annotated[float, typer.Option(help="Prefix cache of the CPU build.")] = 4.0,
    threads: Annotated[str, typer.Option(help="Cores of the CPU build, e.g. 0-7.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    ready_timeout_s: Annotated[float, typer.Option(help="Longest start.")] = 900.0,
    environment: Annotated[Path | None, typer.Option(help="Where vLLM is installed.")] = None,
    install: Annotated[bool, typer.Option("--install", help="Install vLLM there first.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what an earlier start left running.")] = False,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Name models for the cards of this machine.")
    ] = False,
) -> None:
    from indexing.settings import load_settings
    from serving.vllm.settings import VllmSettings

    home = load_settings().home
    if suggest:
        _suggest()
        return
    if stop:
        _stop(home / "vllm")
        return
    if model is None:
        raise InputError("name a model: python -m serving.vllm MODEL (--suggest lists some)")
    try:
        settings = VllmSettings.model_validate(
            {
                "model": model,
                "host": host,
                "port": port,
                "replicas": replicas,
                "tensor_parallel": tensor_parallel,
                "gpus": tuple(int(one) for one in gpus.split(",") if one.strip()),
                "max_model_len": max_model_len,
                "kv_cache_gb": kv_cache_gb,
                "threads": threads,
                "device": device,
                "ready_timeout_s": ready_timeout_s,
                "environment": environment or home / "vllm-env",
                "state": home / "vllm",
            }
        )
    except ValueError as error:
        raise SettingsError(f"the options are not valid: {error}") from error
    _prepare(settings, install=install)
    asyncio.run(_supervised(settings, tuple(context.args)))


def _prepare(settings: VllmSettings, *, install: bool) -> None:
    from serving.vllm.command import on_cpu

    if install:
        from serving.vllm.install import install as make

        make(settings.environment, cpu=on_cpu(settings), say=_say)
    if not settings.python.is_file():
        raise InputError(
            f"vLLM is not installed in {settings.environment}; "
            "add --install, or name where it is with --environment"
        )


async def _supervised(settings: VllmSettings, extra: tuple[str, ...]) -> None:
    from indexing.settings import load_settings
    from serving.vllm.replica import running_pid
    from serving.vllm.supervise import make_replicas, supervise

    key = load_settings().generation.api_key
    replicas = make_replicas(
        settings, os.environ, extra=extra, api_key=None if key is None else key.get_secret_value()
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def ready() -> None:
        typer.echo(f"WINNOW_GENERATION__URL={settings.urls}")
        sys.stdout.flush()

    mine = settings.state.expanduser().absolute() / _SUPERVISOR
    mine.parent.mkdir(parents=True, exist_ok=True)
    # Another one's file stays: its replicas will refuse this start.
    alone = running_pid(mine, _PROGRAM) is None
    if alone:
        mine.write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        await supervise(replicas, settings, stop, _say, ready=ready)
    finally:
        if alone:
            mine.unlink(missing_ok=True)


def _suggest() -> None:
    from serving.vllm.command import gpu_memory_gb
    from serving.vllm.models import SUGGESTIONS, suggestion

    for one in SUGGESTIONS:
        typer.echo(f"{one.memory_gb:>3} GB  {one.model:<34} {one.weights_gb:g} GB of weights; {one.reason}")
    cards = gpu_memory_gb()
    fitting = suggestion(max(cards)) if cards else None
    typer.echo(
        f"here: {fitting.model}"
        if fitting
        else "here: no GPU that holds one of these; a CPU runs small models"
    )


def _stop(state: Path) -> None:
    from serving.vllm.replica import running_pid, stop_group

    # The supervisor first: left alone, it starts again what ends.
    supervisor = running_pid(state / _SUPERVISOR, _PROGRAM)
    if supervisor is not None:
        os.kill(supervisor, signal.SIGTERM)
        typer.echo(f"asked process {supervisor} to stop its replicas")
        return
    found = [pid for path in sorted(state.glob("replica-*.pid")) if (pid := running_pid(path)) is not None]
    for pid in found:
        stop_group(pid)
    typer.echo(f"asked {len(found)} replicas to stop")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line; 0 stopped as asked, 1 something failed, 2 wrong arguments."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=logging.WARNING)
    arguments = None if given is None else list(given)
    return exit_code_of(lambda: app(arguments, prog_name="python -m serving.vllm", standalone_mode=False))
