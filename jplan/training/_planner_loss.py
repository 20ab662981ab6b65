"""The loss of a model that is judged by what is planned through it."""

import jax
import jax.numpy as jnp
import optax

from jplan._checks import check_sizes
from jplan._typing import Array, Params, PyTree
from jplan.descent import AbstractActionSpace, refine, rollout
from jplan.nn import AbstractWorldModel, as_model_fn
from jplan.training._trajectories import Trajectories, check_trajectories


def planner_loss(
    model: AbstractWorldModel,
    windows: Trajectories,
    key: Array,
    *,
    action_space: AbstractActionSpace,
    num_steps: int = 5,
    optimizer: optax.GradientTransformation | None = None,
) -> tuple[Array, dict[str, Array]]:
    """How far the plans that are made through a model are from those of an expert.

    x <- x + update(grad_x return(model, decode(x))), num_steps times;  loss = imitation(x, actions)

    The gradient passes through the refinement, so the model, its encoder and the reward that it
    believes in learn whatever makes descent find the expert's actions.

    Args:
      model: see `jplan.nn.AbstractWorldModel`.
      windows: of an expert, with observations as states. Plans begin in the first one and are as
        long as the window; what the expert does after an end does not count.
      key: consumed; draws the plans that the descent begins from, one a window.
      action_space: of the actions; its ``imitation_loss`` is the measure.
      num_steps: static, from 1 on.
      optimizer: of the plan; None is Adam with the step size 0.3. Its state is differentiated
        through, so Adam needs ``eps_root``.

    Returns:
      The mean loss of the steps before an end, and the metric ``loss_first``, of the first action,
      which is all that is carried out where plans are made anew in each step.

    Raises:
      ValueError: if leading axes differ, ``num_steps`` is below 1, or the actions do not fit the
        model.

    Differentiability: as the gradient of the model's return in the actions is.

    Example:
      >>> from flax import nnx
      >>> import jplan as jp
      >>> model = jp.nn.MLPModel(3, jp.Simplex(2), hidden=8, rngs=nnx.Rngs(0))
      >>> windows = Trajectories(
      ...     states=jnp.zeros((4, 6, 3)),
      ...     actions=jax.nn.one_hot(jnp.zeros((4, 5), int), 2),
      ...     rewards=jnp.zeros((4, 5)),
      ...     discounts=jnp.ones((4, 5)),
      ... )
      >>> loss, _ = planner_loss(model, windows, jax.random.key(0), action_space=jp.Simplex(2))
      >>> loss.shape
      ()

    References: Srinivas et al. 2018, "Universal planning networks", for gradient descent planning
      that is trained by imitation.
    """
    check_trajectories(windows)
    windows = windows.masked
    check_sizes(num_steps=num_steps)
    count, length = windows.rewards.shape
    model_fn, params = as_model_fn(model)
    draw_key, noise_key = jax.random.split(key)
    optimizer = optax.adam(0.3, eps_root=1e-8) if optimizer is None else optimizer

    def plan(observation: PyTree, latent: PyTree, key: Array) -> PyTree:
        def negative_return(given: tuple[Params, PyTree], latent: PyTree) -> Array:
            actions = action_space.decode(latent, key=key)
            return -rollout(model_fn, *given, actions).total

        return refine(
            *(negative_return, (params, model.encode(observation)), latent),
            optimizer=optimizer,
            num_steps=num_steps,
            project=lambda _, latent: action_space.project(latent),
            gradient="full",
        ).value

    first = jax.tree.map(lambda leaf: leaf[:, 0], windows.states)
    starts = action_space.sample(draw_key, (count, length))
    latents = jax.vmap(plan)(first, starts, jax.random.split(noise_key, count))
    losses = action_space.imitation_loss(latents, windows.actions)
    is_alive = windows.is_alive
    loss = jnp.where(is_alive, losses, 0).sum() / is_alive.sum()
    return loss, {"loss_first": losses[:, 0].mean()}
