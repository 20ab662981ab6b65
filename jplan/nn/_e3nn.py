"""The one door to e3nn-jax, which is imported when it is first needed."""

from typing import Any


def import_e3nn() -> Any:
    """The package, or ImportError with the extra that brings it."""
    try:
        import e3nn_jax
    except ImportError as error:
        raise ImportError(
            "planners in space need e3nn-jax; install it with: python -m pip install 'jplan[space]'"
        ) from error
    return e3nn_jax
