"""Who asks: the headers of a caller with a key or a token."""

from __future__ import annotations

from serving.access.tokens import Token


def bearer(token: Token | str, tenant: str | None = None) -> dict[str, str]:
    text = token if isinstance(token, str) else token.text()
    headers = {"authorization": f"Bearer {text}"}
    return headers if tenant is None else {**headers, "x-winnow-tenant": tenant}
