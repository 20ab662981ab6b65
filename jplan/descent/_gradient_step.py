"""A gradient step as a fixed-point map."""

import dataclasses

import jax

from jplan._typing import ObjectiveFn, Params, ProjectFn, PyTree


@dataclasses.dataclass(frozen=True)
class GradientStep:
    """One step of gradient descent, as a map that engine 1 takes.

    f(params, x) = project(params, x - step_size * grad_x objective(params, x))

    Its fixed points are the (projected) stationary points. Where it contracts, which near a strict
    minimum it does for a small step, `jplan.implicit_at` differentiates the minimum in
    ``params``, and `jplan.fixed_point` finds it with any solver.

    Args:
      objective: ``objective(params, x) -> scalar``.
      step_size: positive, and below 2 over the largest curvature.
      project: ``project(params, x) -> x``, or None.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jplan as jp
      >>> bowl = lambda p, x: jnp.sum((x - p) ** 2)
      >>> step = jp.descent.GradientStep(bowl, 0.25)
      >>> minimum = lambda p: jp.implicit_at(step, p, jnp.float32(2.0))
      >>> print(f"{jax.grad(minimum)(2.0):.3f}")
      1.000

    References: Amos & Kolter 2017, OptNet, for optima as layers; the step as the map: Blondel et
    al. 2022, "Efficient and modular implicit differentiation", section 2.2.
    """

    objective: ObjectiveFn
    step_size: float
    project: ProjectFn | None = None

    def __call__(self, params: Params, x: PyTree) -> PyTree:
        """The next point."""
        slope = jax.grad(self.objective, argnums=1)(params, x)
        moved = jax.tree.map(lambda a, b: a - self.step_size * b, x, slope)
        return moved if self.project is None else self.project(params, moved)
