"""Does turning the input turn the output?"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from jplan._typing import Array, PyTree
from jplan.mdp import VOXEL_MOVES as MOVES
from jplan.testing._compare import assert_close

# Name, what it does to a field, what it does to the actions; on the host, where nothing compiles.
_Field: TypeAlias = Callable[[np.ndarray], np.ndarray]
_Symmetry: TypeAlias = tuple[str, _Field, _Field]


def assert_equivariant(
    fun: Callable[[PyTree], PyTree],
    transform_in: Callable[[PyTree], PyTree],
    transform_out: Callable[[PyTree], PyTree],
    x: PyTree,
    *,
    atol: float,
) -> None:
    """Assert that a function commutes with a transform.

    fun(transform_in(x)) = transform_out(fun(x))

    Args:
      fun: any function of a pytree of arrays.
      transform_in: acts on the input.
      transform_out: acts on the output; the identity tests invariance.
      x: the input; one on which nothing is symmetric by itself tests most.
      atol: largest absolute difference of an entry.

    Raises:
      AssertionError: if the two differ, with the entry that differs most.

    Differentiability: none.

    Example:
      >>> x = jnp.array([1.0, 2.0, 4.0])
      >>> flip = lambda x: x[::-1]
      >>> assert_equivariant(jnp.sin, flip, flip, x, atol=0.0)
      >>> assert_equivariant(jnp.cumsum, flip, flip, x, atol=0.0)
      Traceback (most recent call last):
      AssertionError: fun(transform_in(x)) against transform_out(fun(x)): got 7.0, expected 1.0 ...
    """
    assert_close(
        fun(transform_in(x)),
        transform_out(fun(x)),
        atol=atol,
        what="fun(transform_in(x)) against transform_out(fun(x))",
    )


def assert_grid_equivariant(
    planner_fn: Callable[[Array], Array], maps: Array, *, moves: int = 4, atol: float
) -> None:
    """Assert that a map planner commutes with the symmetries of the square, or of the cube.

    planner(g maps)(g s, g a) = planner(maps)(s, a), for all 8, or 48, turns and reflections g

    A quarter turn counter-clockwise turns N into W, W into S, S into E and E into N, so it shifts
    the logits of the actions by one; a reflection swaps E and W. The planners of the plain VIN
    family fail this test before training, the symmetric ones pass it.

    Args:
      planner_fn: maps [..., H, W, C] -> logits [..., H, W, A]; it must take any H and W, or the
        maps must be square.
      maps: [..., H, W, C], or [..., D, H, W, C] with six moves.
      moves: A, 4 or 8, in the order N, W, S, E, NW, SW, SE, NE, or 6 as in `jplan.mdp.VOXEL_MOVES`.
      atol: largest absolute difference of a logit.

    Raises:
      AssertionError: if the logits differ, naming the transform and the entry that differs most.
      ValueError: if the maps or the logits do not have such a shape.

    Differentiability: none.

    Example:
      >>> maps = jnp.arange(9.0).reshape(3, 3, 1)
      >>> spread = lambda maps: jnp.repeat(maps, 4, axis=-1)
      >>> assert_grid_equivariant(spread, maps, atol=0.0)
      >>> only_north = lambda maps: jnp.pad(maps, ((0, 0), (0, 0), (0, 3)))
      >>> assert_grid_equivariant(only_north, maps, atol=0.0)
      Traceback (most recent call last):
      AssertionError: logits of the maps after 1 quarter turns: got ..., expected ...

    References: Zhao et al. 2023, "Integrating symmetry into differentiable planning with steerable
    convolutions", section 4.
    """
    maps = jnp.asarray(maps)
    dims = 3 if moves == 6 else 2
    if moves not in (4, 6, 8) or maps.ndim <= dims:
        raise ValueError(
            f"assert_grid_equivariant: got moves {moves} and maps {maps.shape}, expected 4 or 8, "
            "and [..., H, W, C], or 6 and [..., D, H, W, C]; add a channel axis"
        )
    fields, logits = np.asarray(maps), np.asarray(planner_fn(maps))
    if logits.shape != (*maps.shape[:-1], moves):
        raise ValueError(
            f"assert_grid_equivariant: got logits {logits.shape} for maps {maps.shape}, expected "
            f"{(*maps.shape[:-1], moves)}; set moves to the planner's number of actions"
        )
    for name, transform, permute_actions in _SYMMETRIES[dims]():
        assert_close(
            planner_fn(jnp.asarray(transform(fields))),
            permute_actions(transform(logits)),
            atol=atol,
            what=f"logits of the maps after {name}",
        )


def _square_symmetries() -> Iterator[_Symmetry]:
    for turns in range(4):
        for is_reflected in (False, True):
            options = {"turns": turns, "is_reflected": is_reflected}
            reflection = " and a left-right reflection" if is_reflected else ""
            yield (
                f"{turns} quarter turns{reflection}",
                functools.partial(_transform, **options),
                functools.partial(_permute_actions, **options),
            )


def _cube_symmetries() -> Iterator[_Symmetry]:
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):

            def transform(field: np.ndarray, axes: Any = axes, signs: Any = signs) -> np.ndarray:
                field = np.moveaxis(field, [a - 4 for a in axes], (-4, -3, -2))
                return np.flip(field, tuple(i - 4 for i in range(3) if signs[i] < 0))

            moved = [tuple(s * move[a] for a, s in zip(axes, signs, strict=True)) for move in MOVES]
            order = [moved.index(move) for move in MOVES]
            yield f"axes {axes} and signs {signs}", transform, lambda x, o=order: x[..., o]


_SYMMETRIES = {2: _square_symmetries, 3: _cube_symmetries}


def _transform(field: np.ndarray, turns: int, is_reflected: bool) -> np.ndarray:
    """Quarter turns counter-clockwise of [..., H, W, C], then a left-right reflection."""
    field = np.rot90(field, turns, axes=(-3, -2))
    return np.flip(field, axis=-2) if is_reflected else field


def _permute_actions(logits: np.ndarray, turns: int, is_reflected: bool) -> np.ndarray:
    """The last axis: a turn shifts, a reflection swaps W with E, NW with NE, SW with SE."""
    groups: list[Any] = []
    for first, mirrored in ((0, [0, 3, 2, 1]), (4, [3, 2, 1, 0])):
        group = np.roll(logits[..., first : first + 4], turns, axis=-1)
        groups.append(group[..., mirrored] if is_reflected and group.size else group)
    return np.concatenate(groups, axis=-1)
