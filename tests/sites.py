"""Sites for tests: options by their names, as in the configuration file."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

from msgspec.structs import replace

from service.options.options import BackendClient, SiteOptions, inherited
from service.options.site import Site, site_with


def site_of(name: str, zone: tzinfo, *, bulk: bool = False, **options: Any) -> Site:
    """A site under the US label; with ``bulk`` its EHR has ``$export``."""
    chosen = SiteOptions(time_zone=str(zone), **options)
    if bulk:
        chosen = chosen.model_copy(update={"backend": BackendClient.model_construct(bulk=True)})
    return site_with(name, chosen)


def but(site: Site, **options: Any) -> Site:
    """The same site with other options."""
    return replace(site, options=inherited(site.options, SiteOptions(**dict(site.options) | options)))
