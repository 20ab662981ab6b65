"""Action and observation spaces in the words of gymnasium and gymnax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jplan._typing import PyTree
from jplan.descent import AbstractActionSpace, Box, Product, Simplex
from jplan.envs._world import World


def import_gym(name: str) -> Any:
    """One of the two packages, or ImportError with the extra that brings it."""
    try:
        if name == "gymnasium":
            import gymnasium

            return gymnasium
        import gymnax

        return gymnax
    except ImportError as error:
        raise ImportError(
            f"this needs {name}; install it with: python -m pip install 'jplan[gym]'"
        ) from error


def to_foreign_action_space(spaces: Any, space: AbstractActionSpace) -> Any:
    """Discrete for a simplex, Box for a box, Dict for a product; of either package's ``spaces``."""
    match space:
        case Simplex():
            return spaces.Discrete(space.num_actions)
        case Box():
            low, high = np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)
            return spaces.Box(low, high, low.shape, np.float32)
        case Product():
            parts = space.spaces.items()
            return spaces.Dict(
                {name: to_foreign_action_space(spaces, part) for name, part in parts}
            )
    raise ValueError(
        f"action_space: got {type(space).__name__}, expected a Simplex, a Box or a Product of these"
    )


def from_foreign_action(space: AbstractActionSpace, action: Any) -> PyTree:
    """A world's action, from what the foreign space holds: one-hot for a number."""
    match space:
        case Simplex():
            return jax.nn.one_hot(action, space.num_actions)
        case Product():
            parts = space.spaces.items()
            return {name: from_foreign_action(part, action[name]) for name, part in parts}
    return jnp.asarray(action, jnp.float32)


def to_foreign_observation_space(spaces: Any, world: World) -> Any:
    """Box for an array, without bounds where it holds floats; Dict for a dictionary of them."""
    observe = lambda key: world.observe_fn(world.reset_fn(key))
    return _observation_space(spaces, jax.eval_shape(observe, jax.random.key(0)))


def _observation_space(spaces: Any, observed: PyTree) -> Any:
    if isinstance(observed, dict):
        return spaces.Dict({k: _observation_space(spaces, v) for k, v in observed.items()})
    if not isinstance(observed, jax.ShapeDtypeStruct):
        raise ValueError(
            f"observation: got {type(observed).__name__}, expected an array or a dictionary of "
            "arrays; give the world another observe_fn"
        )
    dtype = np.dtype(observed.dtype)
    low, high = -np.inf, np.inf
    if dtype.kind != "f":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return spaces.Box(low, high, observed.shape, dtype)


def from_foreign_space(space: Any) -> AbstractActionSpace:
    """The action space of either package's Discrete or Box."""
    if hasattr(space, "n"):
        return Simplex(int(space.n))
    if hasattr(space, "low") and len(space.shape) == 1:
        low, high = (np.broadcast_to(bound, space.shape) for bound in (space.low, space.high))
        if np.isfinite(low).all() and np.isfinite(high).all():
            return Box(jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32))
    raise ValueError(
        f"action_space: got {space}, expected a Discrete, or a Box of vectors with finite bounds"
    )
