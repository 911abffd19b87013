"""API keys as text: ``wnw_<id>_<secret>``.

The id is public: it finds the row, and lists and logs show it.  The secret is
256 random bits, so its SHA-256 is what is stored.  A slow, salted hash
(Argon2, bcrypt) protects passwords, which can be guessed one by one; 2^256
equally likely secrets cannot, and a slow hash would only cost every request
its time and hand an attacker a way to keep the processor busy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "wnw_"
_SECRET_BYTES = 32
_FORM = re.compile(r"wnw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Token:
    """A key in clear, which exists only where it is made and where it is presented."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"Token({PREFIX}{self.id}_...)"

    def text(self) -> str:
        """Return what a client sends."""
        return f"{PREFIX}{self.id}_{self.secret}"

    def digest(self) -> str:
        """Return what is stored."""
        return hashlib.sha256(self.secret.encode("ascii")).hexdigest()

    def matches(self, digest: str) -> bool:
        """Return whether it is the one with this digest, in a time that does not tell how nearly."""
        return hmac.compare_digest(self.digest(), digest)


def new_token(key_id: str | None = None) -> Token:
    """Return a key of fresh random bits, with a new id or the given one."""
    return Token(key_id or secrets.token_hex(6), secrets.token_urlsafe(_SECRET_BYTES))


def parse_token(text: str) -> Token | None:
    """Return the key that this text is, None when it is not the form of one."""
    found = _FORM.fullmatch(text)
    return None if found is None else Token(found[1], found[2])
