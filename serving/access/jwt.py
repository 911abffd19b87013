"""Signed tokens of an identity provider (JWT, RFC 7519) instead of keys of our own."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from indexing.errors import InputError, MissingDependencyError, SettingsError
from indexing.settings import JwtSettings
from serving.access.principal import SCOPES, Principal, checked_tenants, choose_tenant
from serving.errors import UnauthenticatedError

logger = logging.getLogger(__name__)

# Never both kinds: with a shared-secret algorithm allowed beside the others, anyone could sign
# with the public key as the secret.
_WITH_SECRET: Final = ("HS256",)
_WITH_KEYS: Final = ("RS256", "ES256", "EdDSA")
_LEEWAY_S = 30


class JwtVerifier:
    """Checks tokens against one issuer; reads the key set again when its file changes.

    Raises:
        MissingDependencyError: PyJWT is not installed.
        SettingsError: the secret is short, or the key set cannot be read.
    """

    def __init__(self, settings: JwtSettings) -> None:
        try:
            import jwt
        except ImportError as error:
            raise MissingDependencyError("PyJWT", "jwt", "serving.jwt") from error
        self._jwt = jwt
        self._settings = settings
        self._lock = threading.Lock()
        self._keys: dict[str | None, Any] = {}
        self._read_at: int | None = None
        if settings.jwks is not None:
            self._read_keys(settings.jwks)

    def verify(self, text: str, asked: str | None) -> Principal:
        """Return the token's subject as a caller.

        Raises:
            UnauthenticatedError: the token is not valid here and now.
            ScopeError: the request names a tenant that is not the subject's.
        """
        try:
            key, algorithms = self._key_of(text)
            claims = self._jwt.decode(
                text,
                key,
                algorithms=list(algorithms),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except self._jwt.PyJWTError as error:
            # The library's words name the check that failed, never the token.
            raise UnauthenticatedError(f"the token is not accepted: {error}") from error
        return self._principal(claims, asked)

    def _principal(self, claims: Mapping[str, Any], asked: str | None) -> Principal:
        scopes = _words(claims.get(self._settings.scopes_claim)) & SCOPES
        named = claims.get(self._settings.tenants_claim)
        try:
            tenants = checked_tenants([named] if isinstance(named, str) else _strings(named))
        except InputError as error:
            raise UnauthenticatedError(f"claim {self._settings.tenants_claim!r}: {error}") from error
        # A subject is free text, and this name is written to logs.
        subject = "jwt:" + re.sub(r"[^!-~]", "?", str(claims["sub"]))[:80]
        return Principal(subject, choose_tenant(tenants, asked), tenants, frozenset(scopes))

    def _key_of(self, text: str) -> tuple[Any, tuple[str, ...]]:
        settings = self._settings
        if settings.secret is not None:
            return settings.secret.get_secret_value(), _WITH_SECRET
        if settings.jwks is None:
            raise SettingsError("serving.jwt: set either secret or jwks")
        kid = self._jwt.get_unverified_header(text).get("kid")
        self._read_keys(settings.jwks)
        key = self._keys.get(kid)
        if key is None:
            raise self._jwt.InvalidKeyError("no key of the set has its kid")
        return key, _WITH_KEYS

    def _read_keys(self, path: Path) -> None:
        """Read the key set when it is new; a broken new one leaves the old in use."""
        with self._lock:
            try:
                changed = path.stat().st_mtime_ns
                if changed == self._read_at:
                    return
                self._read_at = changed
                found = self._jwt.PyJWKSet.from_dict(json.loads(path.read_text(encoding="utf-8")))
                self._keys = {one.key_id: one.key for one in found.keys}
            except (OSError, ValueError, self._jwt.PyJWTError) as error:
                if not self._keys:
                    raise SettingsError(
                        f"serving.jwt.jwks: {path} is not a usable key set: {error}"
                    ) from error
                logger.error("jwks_not_read path=%s reason=%s", path, error)


def _words(claim: object) -> set[str]:
    """Return a claim of words: OAuth's one string with spaces, or a list."""
    return set(claim.split()) if isinstance(claim, str) else set(_strings(claim))


def _strings(claim: object) -> list[str]:
    return [one for one in claim if isinstance(one, str)] if isinstance(claim, list) else []
