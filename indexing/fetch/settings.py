"""Settings of fetching: off until a host is named."""

from __future__ import annotations

import re
from ipaddress import ip_network

from pydantic import BaseModel, ConfigDict, Field, FilePath, field_validator

_HOST = re.compile(r"(?:\*|(?:\*\.)?[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class FetchSettings(BaseModel):
    """Documents by URL: nothing is fetched unless a host is named here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="names that may be fetched from: 'example.org', '*.example.org', "
        "'example.org:8443', or '*' for every public host; a port not named is the scheme's own",
    )
    private_networks: tuple[str, ...] = Field(
        (), description="networks such as '10.1.0.0/16' whose addresses may be reached all the same"
    )
    plain_http: bool = Field(False, description="fetch http:// too; https:// never redirects to it")
    ca_file: FilePath | None = Field(None, description="certificates to trust instead of the public ones")
    max_mb: float = Field(64.0, gt=0, description="of one answer")
    timeout_s: float = Field(30.0, gt=0, description="one URL, redirects and the whole answer included")
    max_redirects: int = Field(5, ge=0, le=20)
    max_urls: int = Field(100, ge=1, description="URLs in one request to the service")

    @field_validator("private_networks")
    @classmethod
    def _networks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            ip_network(name)
        return names

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _HOST.fullmatch(name):
                raise ValueError(f"{name!r} is no host name; write it without scheme and path")
        return tuple(name.lower() for name in names)
