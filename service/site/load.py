"""Reading the settings: environment, files that it names, and the configuration file."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.options.forms import sentence
from service.site.settings import PREFIX, Settings, SettingsError

#: How pydantic-settings says that a value of the environment is not JSON.
_NOT_JSON = re.compile(r'^error parsing value for field "(\w+)"')


def _from_file(variable: str) -> Any:
    """The value in the file that an environment variable names. Raises SettingsError."""
    if variable.removesuffix("_FILE") in os.environ:
        raise SettingsError(f"{variable}: {variable.removesuffix('_FILE')} is set as well; give one of them")
    path = Path(os.environ[variable])
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{variable}: {path} cannot be read: {error.strerror}") from None
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise SettingsError(f"{variable}: {path} does not hold JSON") from None


def _refused(error: ValidationError) -> SettingsError:
    """The first thing that is wrong, as a sentence that names the setting."""
    first = error.errors(include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "configuration"
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        near = difflib.get_close_matches(name, Settings.model_fields, 1)
        return SettingsError(
            f"{name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")
        )
    return SettingsError(sentence(error))


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment and the configuration file. Raises SettingsError naming the setting at fault.

    ``CLOZAPINE_CDS_X_FILE`` names a file that holds the value of ``X``, as secrets are mounted in containers.
    """
    path = os.environ.get(f"{PREFIX}CONFIG")
    if path and not Path(path).is_file():
        raise SettingsError(f"{PREFIX}CONFIG: there is no file {path}")
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {f"{PREFIX}CONFIG"}
    files = {
        f"{name}_FILE": name.removeprefix(PREFIX).lower() for name in known if not name.endswith("CONFIG")
    }
    for variable in os.environ:
        if variable in files and variable not in known:
            overrides.setdefault(files[variable], _from_file(variable))
        elif variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable}: there is no such setting{hint}")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise _refused(error) from None
    except ValueError as error:
        not_json = _NOT_JSON.match(str(error))
        if not_json:
            name = not_json.group(1)
            raise SettingsError(
                f'{PREFIX}{name.upper()}: JSON is expected here, a list such as ["a", "b"] or an object'
            ) from None
        raise SettingsError(f"configuration file: {error}") from None
