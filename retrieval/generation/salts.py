"""A cache salt per tenant: one tenant's cached prefixes cannot be seen by another.

A server with a shared prefix cache answers sooner when somebody has sent the
same prefix before, and the time tells it (CVE-2025-46570).  vLLM mixes
``cache_salt`` into its block hashes.  The salt is an HMAC, so that it cannot
be guessed from the tenant's name.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from indexing.errors import SettingsError

_FILE = "cache-salt.key"
_MIN_CHARS = 16


def cache_salt(secret: bytes, tenant: str) -> str:
    """Return the salt of a tenant: HMAC-SHA256, hexadecimal."""
    return hmac.new(secret, tenant.encode(), hashlib.sha256).hexdigest()


def salt_secret(configured: str | None, home: Path) -> bytes:
    """Return the configured secret, else the one that is kept in the home folder.

    Replicas of the service must be given the same secret, or the same tenant
    has a cache of its own behind each of them.

    Raises:
        SettingsError: the configured secret is shorter than 16 characters.
    """
    if configured is not None:
        if len(configured) < _MIN_CHARS:
            raise SettingsError(f"generation.salt_secret has fewer than {_MIN_CHARS} characters")
        return configured.encode()
    path = home / _FILE
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f".{_FILE}.{os.getpid()}")
        made.touch(mode=0o600)
        made.write_text(secrets.token_hex(32), encoding="ascii")
        # link, unlike rename, lets the first of several processes win.
        try:
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return path.read_text(encoding="ascii").encode()
