"""One pure training step, whatever the planner and the loss."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import nnx, struct

from jplan._typing import Array, PyTree

LossFn = Callable[[Any, Any, Array], tuple[Array, dict[str, Array]]]
"""``loss_fn(module, batch, key) -> (loss, metrics)``."""


@struct.dataclass(kw_only=True)
class TrainState:
    """Everything a run needs to go on: a pytree of arrays.

    Attributes:
      params: `nnx.State` of all variables of the module.
      opt_state: state of the optimiser.
      key: the run's random key; data and loss of step ``n`` use ``split(fold_in(key, n))``.
      step: [] int32, finished steps.
    """

    params: nnx.State
    opt_state: optax.OptState
    key: Array
    step: Array


def init_state(
    module: nnx.Module, optimizer: optax.GradientTransformation, key: Array
) -> tuple[nnx.GraphDef, TrainState]:
    """Split a module into its static part and the state of a run that has not begun.

    Args:
      module: any NNX module whose variables are all to be trained.
      optimizer: optax optimiser.
      key: consumed; the randomness of the run.

    Returns:
      The graph definition, and the `TrainState` at step 0.

    Example:
      >>> import jplan as jp
      >>> planner = jp.planners.ConvGPPN(4, 2, hidden=4, rngs=nnx.Rngs(0))
      >>> _, state = init_state(planner, optax.adam(1e-3), jax.random.key(0))
      >>> int(state.step)
      0
    """
    graphdef, params = nnx.split(module)
    start = jax.numpy.zeros((), jax.numpy.int32)
    return graphdef, TrainState(
        params=params, opt_state=optimizer.init(params), key=key, step=start
    )


def step_keys(state: TrainState) -> tuple[Array, Array]:
    """Keys of the coming step, for a loop that makes its own batches.

    Args:
      state: the run so far.

    Returns:
      The key of the data, which `scan_steps` gives to ``batch_fn``, and that of the loss, which
      `train_step` gives to ``loss_fn``.

    Differentiability: none.

    Example:
      >>> import jplan as jp
      >>> planner = jp.planners.ConvGPPN(4, 2, hidden=4, rngs=nnx.Rngs(0))
      >>> _, state = init_state(planner, optax.adam(1e-3), jax.random.key(0))
      >>> batch_key, loss_key = step_keys(state)
      >>> bool((jax.random.key_data(batch_key) == jax.random.key_data(loss_key)).all())
      False
    """
    batch_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
    return batch_key, loss_key


def train_step(
    state: TrainState,
    batch: PyTree,
    *,
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    loss_fn: LossFn,
) -> tuple[TrainState, dict[str, Array]]:
    """One optimiser step; pure, to be jitted or scanned by the caller.

    Args:
      state: the run so far.
      batch: data of this step, handed to ``loss_fn``.
      graphdef: from `init_state`.
      optimizer: the one that ``state`` was made with.
      loss_fn: ``loss_fn(module, batch, key) -> (loss, metrics)``.

    Returns:
      The next state, and the metrics with ``loss`` and ``gradient_norm``.

    Differentiability: not intended.

    Example:
      >>> import jplan as jp
      >>> planner = jp.planners.ConvGPPN(4, 2, hidden=4, rngs=nnx.Rngs(0))
      >>> optimizer = optax.adam(1e-3)
      >>> graphdef, state = init_state(planner, optimizer, jax.random.key(0))
      >>> loss_fn = lambda planner, maps, key: ((planner(maps) ** 2).mean(), {})
      >>> maps = jax.numpy.ones((2, 7, 7, 2))
      >>> constants = {"graphdef": graphdef, "optimizer": optimizer, "loss_fn": loss_fn}
      >>> step = jax.jit(lambda state, maps: train_step(state, maps, **constants))
      >>> state, metrics = step(state, maps)
      >>> int(state.step), sorted(metrics)
      (1, ['gradient_norm', 'loss'])
    """
    _, loss_key = step_keys(state)

    def objective(params: nnx.State) -> tuple[Array, dict[str, Array]]:
        return loss_fn(nnx.merge(graphdef, params), batch, loss_key)

    (loss, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    metrics = {"loss": loss, **metrics, "gradient_norm": optax.tree.norm(gradient)}
    state = TrainState(params=params, opt_state=opt_state, key=state.key, step=state.step + 1)
    return state, metrics


def scan_steps(
    state: TrainState,
    *data: PyTree,
    batch_fn: Callable[..., PyTree],
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    loss_fn: LossFn,
    num_steps: int,
) -> tuple[TrainState, dict[str, Array]]:
    """Several training steps with their data, in one scan; jit it and hand it to `fit`.

    Args:
      state: the run so far.
      *data: what ``batch_fn`` reads, such as a data set; arrays that it closed over instead would
        be constants, which take long to compile.
      batch_fn: pure, ``batch_fn(key, *data) -> batch``; made on the device, in the scan.
      graphdef: from `init_state`.
      optimizer: the one that ``state`` was made with.
      loss_fn: ``loss_fn(module, batch, key) -> (loss, metrics)``.
      num_steps: static.

    Returns:
      The next state, and the mean of each metric.

    Differentiability: not intended.

    Example:
      >>> import jplan as jp
      >>> planner = jp.planners.ConvGPPN(4, 2, hidden=4, max_steps=9, rngs=nnx.Rngs(0))
      >>> optimizer = optax.adam(1e-3)
      >>> graphdef, state = init_state(planner, optimizer, jax.random.key(0))
      >>> state, _ = scan_steps(
      ...     state,
      ...     batch_fn=lambda key: jax.random.uniform(key, (2, 7, 7, 2)),
      ...     graphdef=graphdef,
      ...     optimizer=optimizer,
      ...     loss_fn=lambda planner, maps, key: ((planner(maps) ** 2).mean(), {}),
      ...     num_steps=3,
      ... )
      >>> int(state.step)
      3
    """

    def body(state: TrainState, _: None) -> tuple[TrainState, dict[str, Array]]:
        batch = batch_fn(step_keys(state)[0], *data)
        return train_step(state, batch, graphdef=graphdef, optimizer=optimizer, loss_fn=loss_fn)

    state, metrics = jax.lax.scan(body, state, None, length=num_steps)
    return state, jax.tree.map(lambda values: values.mean(0), metrics)
