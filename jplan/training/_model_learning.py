"""The loss that a model of the world is learnt with."""

import jax
import jax.numpy as jnp
from flax import nnx

from jplan._typing import Array, PyTree, Scalar
from jplan.nn import AbstractWorldModel
from jplan.training._trajectories import Trajectories, check_trajectories


def model_loss(
    model: AbstractWorldModel,
    windows: Trajectories,
    key: Array,
    *,
    action_noise: PyTree = 0.25,
    adversary: Scalar = 0.0,
) -> tuple[Array, dict[str, Array]]:
    """How wrong a model is that goes on from its own predictions.

    s_t+1 = model(s_t, a_t + noise);  loss = mean_t loss_t(s_t+1, r_t, discount_t)

    Only the first observation of a window is given. Noise on the actions makes the model smooth
    between the actions that there are, where gradient-based planning looks.

    Args:
      model: see `jplan.nn.AbstractWorldModel`.
      windows: what was observed; the states are observations. What comes after an end does not
        count, finite or not; the state that the last step leads to does.
      key: consumed.
      action_noise: standard deviation of the noise on all actions, or a pytree with that of each of
        their parts. Noise as large as a part's own spread hides what the part does.
      adversary: length of a step up the gradient of the loss that actions take in addition, each by
        its sign: the loss is then of the worst actions nearby; costs a second pass.

    Returns:
      The mean loss of the steps before an end, and the metrics ``reward_error``, root of the mean
      squared error, and ``loss_first``, of the first step.

    Raises:
      ValueError: if leading axes differ, or ``action_noise`` has other parts than the actions.

    Differentiability: as the model's.

    Example:
      >>> from jplan import envs, nn, training
      >>> world = envs.crash_gridworld(8)
      >>> gather = jax.jit(lambda key: training.collect(world, key, 10))
      >>> episodes = gather(jax.random.key(0))
      >>> windows = training.draw_windows(episodes, jax.random.key(1), batch_size=4, length=3)
      >>> see = jax.vmap(jax.vmap(world.observe_fn))
      >>> windows = windows.replace(states=see(windows.states))
      >>> model = nn.ConvModel((8, 8), 3, 4, rngs=nnx.Rngs(0))
      >>> loss, metrics = jax.jit(model_loss)(model, windows, jax.random.key(2))
      >>> loss.shape
      ()

    References: Henaff, Whitney & LeCun 2017, section 3 and figure 1, with noise of 0.25; for the
      adversary Goodfellow, Shlens & Szegedy 2015, section 4.
    """
    check_trajectories(windows)
    windows = windows.masked
    leaves, treedef = jax.tree.flatten(windows.actions)
    keys = jax.random.split(key, len(leaves))
    try:
        deviations = jax.tree.leaves(jax.tree.broadcast(action_noise, windows.actions))
    except ValueError as error:
        raise ValueError(
            f"action_noise has the structure {jax.tree.structure(action_noise)}, expected a number "
            f"or a prefix of that of the actions, {treedef}."
        ) from error
    noisy = [
        leaf + deviation * jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf, deviation in zip(keys, leaves, deviations, strict=True)
    ]
    actions = jax.tree.unflatten(treedef, noisy)
    graphdef, params = nnx.split(model)

    def follow(params: nnx.State, window: Trajectories, actions: PyTree) -> tuple[Array, Array]:
        def step(state: PyTree, seen: tuple) -> tuple[PyTree, tuple]:
            action, following, reward, discount = seen
            merged = nnx.merge(graphdef, params)
            out = merged.predict(state, action)
            return out.state, (merged.loss(out, following, reward, discount), out.reward)

        first = jax.tree.map(lambda leaf: leaf[0], window.states)
        first = nnx.merge(graphdef, params).encode(first)
        later = jax.tree.map(lambda leaf: leaf[1:], window.states)
        seen = actions, later, window.rewards, window.discounts
        return jax.lax.scan(step, first, seen)[1]

    is_alive = windows.is_alive

    def losses(params: nnx.State, actions: PyTree) -> tuple[Array, tuple[Array, Array]]:
        each, rewards = jax.vmap(follow, in_axes=(None, 0, 0))(params, windows, actions)
        return jnp.where(is_alive, each, 0).sum() / is_alive.sum(), (each, rewards)

    if not (isinstance(adversary, int | float) and adversary == 0):
        slope = jax.grad(lambda actions: losses(jax.lax.stop_gradient(params), actions)[0])(actions)
        worse = lambda a, g: jax.lax.stop_gradient(a + adversary * jnp.sign(g))
        actions = jax.tree.map(worse, actions, slope)
    loss, (each, rewards) = losses(params, actions)
    squares = jnp.where(is_alive, (rewards - windows.rewards) ** 2, 0).sum() / is_alive.sum()
    return loss, {"reward_error": jnp.sqrt(squares), "loss_first": each[:, 0].mean()}
