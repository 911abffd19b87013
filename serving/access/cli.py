"""``python -m serving.keys``: make, list, renew and end API keys."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from indexing.settings import Settings
    from serving.access.keys import Key, KeyStore

EXIT_REFUSED = 2

app = typer.Typer(add_completion=False, no_args_is_help=True, help="API keys of an index.")

Home = Annotated[Path | None, typer.Option(help="The index folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The 12 digits after wnw_.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what the key is for.")],
    tenant: Annotated[
        list[str] | None, typer.Option(help="May be repeated; the first is the default.")
    ] = None,
    scope: Annotated[list[str] | None, typer.Option(help="read, write, admin; may be repeated.")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Valid for so long; default: no end.")] = None,
    per_minute: Annotated[int | None, typer.Option(min=1, help="Requests a minute.")] = None,
    max_body_mb: Annotated[float | None, typer.Option(min=0, help="Largest body of a request.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the key to this file, mode 600; does nothing if it exists.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it; it is not shown again."""
    from serving.access.principal import Limits

    with _store(home) as store:
        if output is not None and output.exists():
            typer.echo(f"{output} exists: no key made", err=True)
            return
        token = store.create(
            name,
            tenants=tenant or ["default"],
            scopes=scope or ["read"],
            days=days,
            limits=Limits(per_minute, max_body_mb),
        )
        _audit("key_created", token.id, name, home)
        if output is not None:
            _write_private(output, token.text())
            typer.echo(f"key {token.id} written to {output}", err=True)
        else:
            _show(token.id, token.text(), as_json)


@app.command(name="list")
def list_keys(home: Home = None, as_json: AsJson = False) -> None:
    """List keys, without their secrets."""
    with _store(home) as store:
        now = store.now()
        found = store.list()
    if as_json:
        rows = [_row(key, now) for key in found]
        sys.stdout.write(json.dumps({"keys": rows}, ensure_ascii=False) + "\n")
        return
    for key in found:
        tenants, scopes = ",".join(key.tenants), ",".join(sorted(key.scopes))
        used = key.used_at or "never used"
        line = f"wnw_{key.id}  {key.state(now):8} {scopes:16} {tenants:24} {used:30} {key.name}"
        sys.stdout.write(f"{line}\n")


@app.command()
def rotate(
    key_id: KeyId,
    grace_hours: Annotated[float, typer.Option(min=0, help="How long the old secret stays valid.")] = 24.0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a new secret for a key; the old one works until the grace ends."""
    with _store(home) as store:
        token = store.rotate(_bare(key_id), grace=timedelta(hours=grace_hours))
        _audit("key_rotated", token.id, "", home)
        _show(token.id, token.text(), as_json)


@app.command()
def revoke(key_id: KeyId, home: Home = None) -> None:
    """End a key, from the next request on."""
    with _store(home) as store:
        store.revoke(_bare(key_id))
        _audit("key_revoked", _bare(key_id), "", home)
        typer.echo(f"key {_bare(key_id)} is revoked", err=True)


@contextmanager
def _store(home: Path | None) -> Iterator[KeyStore]:
    from indexing.errors import WinnowError
    from serving.access.keys import KeyStore

    try:
        store = KeyStore(_settings(home).home)
        try:
            yield store
        finally:
            store.close()
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from error


def _settings(home: Path | None) -> Settings:
    from indexing.settings import load_settings

    return load_settings() if home is None else load_settings(home=home)


def _audit(event: str, key_id: str, name: str, home: Path | None) -> None:
    from serving.access.audit import key_line, open_audit_log

    log = open_audit_log(_settings(home).serving)
    if log is not None:
        log.write(key_line(event, key_id, name))
        log.stop()


def _show(key_id: str, text: str, as_json: bool) -> None:
    sys.stdout.write((json.dumps({"id": key_id, "key": text}) if as_json else text) + "\n")


def _row(key: Key, now: str) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "state": key.state(now),
        "scopes": sorted(key.scopes),
        "tenants": list(key.tenants),
        "per_minute": key.limits.per_minute,
        "max_body_mb": key.limits.max_body_mb,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "used_at": key.used_at,
    }


def _bare(key_id: str) -> str:
    """Return the id of a key that was pasted with its prefix."""
    return key_id.removeprefix("wnw_").split("_", 1)[0]


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m serving.keys")
