"""Secrets of EHRs that are stored in the database: sealed with a key that is not there."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from service.options.options import SiteOptions

_SEALED = "sealed:"
#: The options that are secrets.
SECRET_OPTIONS = tuple(
    name for name, field in SiteOptions.model_fields.items() if field.annotation is SecretStr
)


class SecretError(ValueError):
    """A secret that cannot be kept, or not be read; the message says why, never what."""


class Secrets:
    """Seals and opens.

    Args:
        key: the setting ``secrets_key``; empty: nothing can be sealed or opened.
    """

    def __init__(self, key: str) -> None:
        # Whatever its form, the key has at least 32 characters: no stretching is needed.
        digest = hashlib.sha256(key.encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(digest)) if key else None

    def seal(self, text: str) -> str:
        """A secret as it may be stored. Raises SecretError."""
        if self._fernet is None:
            raise SecretError(
                "it is not stored in the clear; set CLOZAPINE_CDS_SECRETS_KEY (openssl rand -base64 32) for every process, "
                "or write the EHR into the configuration file"
            )
        return _SEALED + self._fernet.encrypt(text.encode()).decode()

    def open(self, text: str) -> str:
        """The secret. Raises SecretError."""
        if not text.startswith(_SEALED):
            raise SecretError(
                "it was not kept (a version up to 0.3.1 stored asterisks); add the EHR again with --replace"
            )
        if self._fernet is None:
            raise SecretError("it is sealed, and CLOZAPINE_CDS_SECRETS_KEY is not set")
        try:
            return self._fernet.decrypt(text.removeprefix(_SEALED)).decode()
        except InvalidToken:
            raise SecretError("it was sealed with another key than CLOZAPINE_CDS_SECRETS_KEY") from None

    def opened(self, stored: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The settings of a stored EHR with its secrets, and what could not be read of them.

        A secret that cannot be read is empty, and not that of the general settings: nobody is told of anything under a foreign one.
        """
        content, problems = dict(stored), []
        for name in SECRET_OPTIONS:
            if content.get(name):
                try:
                    content[name] = self.open(str(content[name]))
                except SecretError as error:
                    content[name] = ""
                    problems.append(f"{name}: {error}")
        return content, problems
