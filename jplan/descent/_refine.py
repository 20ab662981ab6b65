"""The engine: refine a point by gradient descent, with or without differentiating through it."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from jplan._batches import map_batches
from jplan._typing import Array, ObjectiveFn, Params, ProjectFn, PyTree

AcceptFn: TypeAlias = Callable[[Array, Array], Array]
"""``accept(before, after) -> bool``: whether a step with these two objectives is kept."""

Gradient: TypeAlias = Literal["full", "per_step", "none"]
"""How the iterates of `refine` depend on its parameters."""

# Steps that are differentiated without a loop, which compiles and runs faster while they are few.
_UNROLLED = 4


@struct.dataclass(kw_only=True)
class Refinement:
    """Result of `refine`; a pytree.

    Attributes:
      value: the last iterate, same structure as ``x0``.
      objective: [], of the last iterate.
      iterates: as ``x0`` with a leading axis [num_steps + 1], from ``x0`` on.
      objectives: [num_steps + 1], of the iterates.
      gradient_norms: [num_steps], of the objective's gradient at all iterates but the last.
    """

    value: PyTree
    objective: Array
    iterates: PyTree
    objectives: Array
    gradient_norms: Array


def refine(
    objective: ObjectiveFn,
    params: Params,
    x0: PyTree,
    *,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    project: ProjectFn | None = None,
    accept: AcceptFn | None = None,
    gradient: Gradient = "none",
) -> Refinement:
    """Refine a point by descent on an objective.

    x <- project(params, x + update(grad_x objective(params, x)))

    Args:
      objective: ``objective(params, x) -> scalar``, pure; it is made small.
      params: any pytree; whatever the objective and the projection are to be differentiated in.
      x0: pytree of floats, where the descent begins; use `refine_candidates` for many.
      optimizer: any optax optimiser. Its step size may be traced, and so learnt; it is then
        differentiated where ``gradient`` is not "none".
      num_steps: static, from 0 on.
      project: ``project(params, x) -> x``, after each step, back to where ``x`` may be.
      accept: ``accept(before, after)``, whether a step is kept, such as ``jnp.greater``; where it
        is not, ``x`` stays. None keeps all.
      gradient: how the iterates are differentiated in ``params``, in the optimiser's traced
        numbers and in ``x0``. "full": through all steps. "per_step": each iterate through the step
        that made it, and no further. "none": they are constants.

    Returns:
      `Refinement`. Numbers that stop being finite stay so, and `select` does not take them.

    Raises:
      ValueError: if the objective is not a scalar, ``x0`` does not consist of floats,
        ``num_steps`` is below 0, the projection changes shapes or dtypes, or ``gradient`` is
        unknown.

    Differentiability: as ``gradient`` says, every mode. Adam and its like take a square root that
      has no derivative at zero: give them ``eps_root``, such as ``optax.adam(0.1, eps_root=1e-8)``,
      or a gradient that is exactly zero turns "full" into NaN.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> import jplan as jp
      >>> bowl = lambda centre, x: jnp.sum((x - centre) ** 2)
      >>> done = jp.refine(bowl, jnp.ones(2), jnp.zeros(2), optimizer=optax.sgd(0.3), num_steps=20)
      >>> done.value.round(3), done.objectives.shape
      (Array([1., 1.], dtype=float32), (21,))

    Note:
      A gradient step is a map whose fixed points are the stationary points, so an optimum can also
      be differentiated by `jplan.implicit_at`, at a cost that does not depend on the steps: see
      `GradientStep`.
    """
    _check(objective, params, x0, num_steps, project, gradient)
    value_and_grad = jax.value_and_grad(objective, argnums=1)
    project = (lambda _, x: x) if project is None else project
    if gradient == "none":
        params, x0 = lax.stop_gradient((params, x0))

    def step(carry: tuple, _: None) -> tuple[tuple, tuple]:
        x, state = carry
        if gradient == "per_step":
            x, state = lax.stop_gradient((x, state))
        before, slope = value_and_grad(params, x)
        updates, state = optimizer.update(slope, state, x)
        new = project(params, optax.apply_updates(x, updates))
        if accept is not None:
            kept = accept(before, objective(params, new))
            new = jax.tree.map(functools.partial(jnp.where, kept), new, x)
        return (new, state), (new, before, optax.tree.norm(slope))

    (last, _), (following, objectives, norms) = lax.scan(
        *(step, (x0, optimizer.init(x0)), None),
        length=num_steps,
        unroll=gradient != "none" and num_steps <= _UNROLLED,
    )
    final = objective(params, last)
    refinement = Refinement(
        value=last,
        objective=final,
        iterates=jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), x0, following),
        objectives=jnp.append(objectives, final),
        gradient_norms=norms,
    )
    # The optimiser's own numbers may be traced as well.
    return lax.stop_gradient(refinement) if gradient == "none" else refinement


def refine_candidates(
    objective: ObjectiveFn,
    params: Params,
    candidates: PyTree,
    *,
    batch_size: int | None = None,
    **options: Any,
) -> Refinement:
    """`refine` from many points at once.

    Args:
      objective: as in `refine`.
      params: as in `refine`, the same for all candidates.
      candidates: pytree of floats with a leading axis N.
      batch_size: static; how many are refined at a time, which bounds the memory and, on a CPU,
        keeps a large model's intermediate values in the cache. None takes all at once.
      **options: see `refine`.

    Returns:
      `Refinement` with a leading axis N in every leaf.

    Raises:
      ValueError: as `refine`, and if the candidates are none or differ in number.

    Differentiability: as `refine`.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jplan.descent import refine_candidates, select
      >>> waves = lambda _, x: jnp.cos(3 * x) + 0.1 * x**2
      >>> starts = jnp.linspace(-4, 4, 9)
      >>> done = refine_candidates(waves, None, starts, optimizer=optax.sgd(0.05), num_steps=50)
      >>> print(f"{abs(select(done.value, done.objective).value):.2f}")
      1.02
    """
    leads = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(candidates)}
    count = math.prod(next(iter(leads), (0,)))
    if len(leads) != 1 or () in leads or count < 1:
        raise ValueError(
            f"candidates have leading axes {sorted(leads)}, expected one number of candidates, at "
            "least 1; stack them along a leading axis."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1, or None for all.")
    run = jax.vmap(lambda x: refine(objective, params, x, **options))
    if batch_size is None or batch_size >= count:
        return run(candidates)
    return map_batches(run, candidates, batch_size)


def _check(
    objective: ObjectiveFn,
    params: Params,
    x0: PyTree,
    num_steps: int,
    project: ProjectFn | None,
    gradient: str,
) -> None:
    if gradient not in ("full", "per_step", "none"):
        raise ValueError(f"gradient is {gradient!r}, expected 'full', 'per_step' or 'none'.")
    if not isinstance(num_steps, int) or num_steps < 0:
        raise ValueError(f"num_steps is {num_steps!r}, expected a static whole number from 0 on.")
    for leaf in jax.tree.leaves(x0):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"x0 has a leaf of shape {list(jnp.shape(leaf))} and dtype "
                f"{jnp.result_type(leaf)}, expected floats; descend on logits for discrete "
                "choices, see Simplex."
            )
    out = jax.eval_shape(objective, params, x0)
    if not hasattr(out, "shape") or out.shape != ():
        got = list(out.shape) if hasattr(out, "shape") else type(out).__name__
        raise ValueError(
            f"objective returns {got}, expected a scalar; sum it, or use refine_candidates for "
            "several points."
        )
    if project is not None:
        form = lambda tree: jax.tree.map(lambda leaf: (jnp.shape(leaf), leaf.dtype), tree)
        if form(jax.eval_shape(project, params, x0)) != form(jax.tree.map(jnp.asarray, x0)):
            raise ValueError(
                "project returns another structure, other shapes or other dtypes than x0, expected "
                "the same; it is called as project(params, x)."
            )
