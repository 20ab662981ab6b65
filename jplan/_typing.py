"""The contracts that users fill in, and the glossary of axis letters.

Shapes in docstrings use these letters and no others::

    B batch     S states      A actions    T horizon or steps
    H W C map height, width, channels      N candidates or samples
    E edges     M history of a solver
    Q action channels       K cells a side of a kernel      O outputs of a convolution

Maps are channel-last, coordinates are ``(y, x)``, and grid actions come in the order
N, W, S, E (counter-clockwise, so that a quarter turn of the map is a cyclic shift of the
actions), followed by NW, SW, SE, NE where eight moves are allowed.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax

Array: TypeAlias = jax.Array
PyTree: TypeAlias = Any
Scalar: TypeAlias = jax.Array | float

Padding: TypeAlias = Literal["zero", "wrap"]
"""What lies beyond the edges of a map: nothing, or, on a torus, its opposite side."""

Params: TypeAlias = PyTree
"""Everything that a function may be differentiated with respect to; any pytree."""

FixedPointFn: TypeAlias = Callable[[Params, PyTree], PyTree]
"""``f(params, z) -> z``: one step of an iteration on one problem; ``z`` is any float pytree."""

ObjectiveFn: TypeAlias = Callable[[Params, PyTree], Array]
"""``objective(params, x) -> scalar``, pure: what a descent makes small."""

EnergyFn: TypeAlias = Callable[[Params, Array, Array, Array, Array], Array]
"""``energy(params, future, past, goal, progress) -> scalar``: how little a future [T, D] fits a
past [P, D] and a goal [D] that is to be reached at a place of the future, from 0 to 1."""

ProjectFn: TypeAlias = Callable[[Params, PyTree], PyTree]
"""``project(params, x) -> x``: back to where ``x`` may be."""

ModelFn: TypeAlias = Callable[[Params, PyTree, PyTree], tuple[PyTree, Array, Array]]
"""``model(params, state, action) -> (next_state, reward, discount)``, of one state.

The reward and the discount are scalars; the discount, 0 where an episode ends, multiplies all that
follows. A learnt model and a simulator written in JAX have the same form."""
