"""``python -m serving``: start the service and say where it is.

Imports that take time happen inside the command: ``--help`` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from indexing.settings import Settings

EXIT_REFUSED = 2

LogLevel = Literal["debug", "info", "warning", "error"]

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one.")] = None,
    home: Annotated[Path | None, typer.Option(help="Where collection, catalogue and uploads live.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML settings file.")] = None,
    log_level: Annotated[LogLevel, typer.Option(help="debug shows the text of queries.")] = "info",
) -> None:
    """Serve hybrid search with citations over HTTP, and a page to ask from."""
    from indexing.errors import WinnowError

    if config is not None:
        # The ingest process reads it from there too.
        os.environ["WINNOW_CONFIG"] = str(config.absolute())
    try:
        settings = _settings(host, port, home)
        from serving.logs import configure_logging
        from serving.server import run

        configure_logging(log_level, settings.serving.log_format)
        run(settings)
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error


def _settings(host: str | None, port: int | None, home: Path | None) -> Settings:
    """Return the settings with the given arguments over everything else."""
    from indexing.settings import load_settings

    overrides: dict[str, object] = {}
    if home is not None:
        overrides["home"] = home
    serving = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    if serving:
        # A section given as an argument is merged with the file's and the environment's.
        overrides["serving"] = serving
    return load_settings(**overrides)


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m serving")
