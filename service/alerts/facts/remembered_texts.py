"""A memory for what texts come to, bounded in bytes: so many texts, and none that is long.

``lru_cache`` alone bounds the number: four thousand dosages of 200 kB are a gigabyte that never comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, TypeVar

Text = TypeVar("Text", str, bytes)
More = ParamSpec("More")
Result = TypeVar("Result")


def remembering(
    entries: int, longest: int
) -> Callable[[Callable[Concatenate[Text, More], Result]], Callable[Concatenate[Text, More], Result]]:
    """A cache of ``entries`` results of a function whose first argument is a text; for one longer than ``longest`` it is called anew."""

    def remember(
        function: Callable[Concatenate[Text, More], Result],
    ) -> Callable[Concatenate[Text, More], Result]:
        known = lru_cache(maxsize=entries)(function)

        @wraps(function)
        def result(text: Text, /, *args: More.args, **options: More.kwargs) -> Result:
            return (known if len(text) <= longest else function)(text, *args, **options)  # type: ignore[arg-type]

        return result

    return remember
