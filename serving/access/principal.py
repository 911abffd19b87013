"""Who a request acts for, and what that caller may do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from indexing.errors import InputError
from indexing.records import DEFAULT_TENANT
from serving.errors import ScopeError

TENANT_HEADER: Final = "x-winnow-tenant"
SCOPE_KEY: Final = "winnow.principal"  # where the ASGI scope holds the principal

Access = Literal["read", "write", "admin"]
SCOPES: Final[frozenset[str]] = frozenset(get_args(Access))

# Names end up in headers, log lines and file names; what needs no escaping in any of them.
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may use; None: the service's own limits alone."""

    per_minute: int | None = None
    max_body_mb: float | None = None


UNLIMITED: Final = Limits()


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller: its name for logs, the tenant of this request, and its rights."""

    id: str
    tenant: str
    tenants: tuple[str, ...]
    scopes: frozenset[str]
    limits: Limits = UNLIMITED

    @property
    def is_admin(self) -> bool:
        """Whether the caller may know what concerns the service and not its documents."""
        return "admin" in self.scopes

    def require(self, access: Access) -> None:
        """Raise unless the caller holds the scope.

        Scopes do not include one another: a scraper's key with ``admin``
        cannot read or delete a document.

        Raises:
            ScopeError: it does not.
        """
        if access not in self.scopes:
            raise ScopeError(
                f"this needs the scope {access!r}; the key {self.id} has {', '.join(sorted(self.scopes))}"
            )

    def smaller_mb(self, max_mb: float) -> float:
        """Return the caller's limit of a body where it is lower than the service's."""
        own = self.limits.max_body_mb
        return max_mb if own is None else min(own, max_mb)


# Without keys there is one caller, who may do everything in one tenant.
EVERYONE: Final = Principal("-", DEFAULT_TENANT, (DEFAULT_TENANT,), SCOPES)


def principal_of(scope: Mapping[str, Any]) -> Principal | None:
    """Return who an ASGI request acts for; None where the route is open and nobody is named."""
    found: Principal | None = scope.get(SCOPE_KEY)
    return found


def choose_tenant(tenants: tuple[str, ...], asked: str | None) -> str:
    """Return the tenant a request names among the caller's own, else their first.

    Raises:
        ScopeError: it names another one; whether that one exists is not told.
    """
    if asked is None:
        return tenants[0]
    if asked not in tenants:
        raise ScopeError(f"tenant {asked!r} is not one of this caller's: {', '.join(tenants)}")
    return asked


def checked_tenants(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names without repetitions, in order.

    Raises:
        InputError: there is none, or one has other characters than letters,
            digits, ``.``, ``_`` and ``-``.
    """
    chosen = tuple(dict.fromkeys(names))
    if not chosen:
        raise InputError("at least one tenant is needed")
    for name in chosen:
        if not _TENANT.fullmatch(name):
            raise InputError(
                f"tenant {name!r}: 1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit"
            )
    return chosen


def checked_scopes(names: Iterable[str]) -> frozenset[str]:
    """Return the scopes as a set.

    Raises:
        InputError: there is none, or one is unknown.
    """
    chosen = frozenset(names)
    if not chosen or chosen - SCOPES:
        unknown = ", ".join(sorted(chosen - SCOPES)) or "none given"
        raise InputError(f"scopes: {unknown}; known: read, write, admin")
    return chosen
