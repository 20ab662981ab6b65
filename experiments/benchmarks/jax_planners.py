"""Our side of the benchmark: training steps and plans, compiled, with their memory."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jplan as jp
from jplan import envs, planners, training

ADJOINTS = {
    "unrolled": jp.Unroll(),
    "truncated": jp.Truncated(15),
    "implicit": jp.Implicit(backward=jp.Picard(tol=0.0, max_steps=15)),
}


def make_planner(kind, width, steps, adjoint="truncated"):
    """A planner that really takes all its steps: the tolerance is 0."""
    solver = jp.Picard(tol=0.0, max_steps=steps)
    options = {"solver": solver, "adjoint": ADJOINTS[adjoint], "rngs": nnx.Rngs(0)}
    if kind == "VIN":
        return planners.VIN(4, 2, q_channels=width, **options)
    return planners.ConvGPPN(4, 2, hidden=width, **options)


def loss_fn(planner, batch, key):
    """Masked cross-entropy to all optimal actions, and nothing else."""
    del key
    target = batch.optimal / jnp.maximum(batch.optimal.sum(-1, keepdims=True), 1)
    losses = optax.losses.safe_softmax_cross_entropy(planner(batch.maps), target)
    return jnp.where(batch.mask, losses, 0).sum() / batch.mask.sum(), {}


def maze_batch(key, *, size, count=32):
    keys = jax.random.split(key, count)
    return training.imitation_batch(jax.vmap(lambda key: envs.maze(key, size))(keys))


def train_briefly(kind, width, num_steps):
    """Parameters after some steps on 15x15 mazes, since random ones are no fair workload."""
    planner, optimizer = make_planner(kind, width, 30), optax.adam(3e-3)
    graphdef, state = training.init_state(planner, optimizer, jax.random.key(0))
    advance = functools.partial(
        training.scan_steps,
        graphdef=graphdef,
        optimizer=optimizer,
        batch_fn=functools.partial(maze_batch, size=15),
        loss_fn=loss_fn,
        num_steps=num_steps,
    )
    return jax.jit(advance)(state)[0].params


def compiled_case(call, arguments):
    """A function without arguments that does the work once, its compile time, and its memory.

    Memory is what XLA plans for temporary buffers and results, ``memory_analysis``; the arguments,
    parameters and maps, come on top for both sides alike.
    """
    clock = time.perf_counter()
    compiled = jax.jit(call).lower(*arguments).compile()
    seconds = time.perf_counter() - clock
    analysis = compiled.memory_analysis()
    assert analysis is not None
    memory = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return (lambda: jax.block_until_ready(compiled(*arguments))), seconds, memory


def our_case(kind, width, steps, params, batch, adjoint, work):
    """The library's planner with one of its adjoints."""
    planner, optimizer = make_planner(kind, width, steps, adjoint), optax.adam(1e-3)
    graphdef = nnx.graphdef(planner)
    state = training.TrainState(
        params=params, opt_state=optimizer.init(params), key=jax.random.key(0), step=jnp.int32(0)
    )
    if work == "train":
        options = {"graphdef": graphdef, "optimizer": optimizer, "loss_fn": loss_fn}
        call, arguments = functools.partial(training.train_step, **options), (state, batch)
    else:
        call = lambda params, maps: nnx.merge(graphdef, params)(maps)
        arguments = (params, batch.maps)
    return compiled_case(call, arguments)


def generic_case(kind, width, steps, params, batch, work):
    """The same training step as a JAX user writes it: plain convolutions, a scan, autodiff."""
    planner = make_planner(kind, width, steps)
    graphdef, optimizer = nnx.graphdef(planner), optax.adam(1e-3)
    convolve = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

    def vin(planner, maps):
        mapper = planner.mapper
        hidden = jax.nn.relu(convolve(maps, mapper.kernel[...]) + mapper.bias[...])
        kernel = planner.kernel()
        given = convolve(hidden @ mapper.out[...], kernel[:, :, :1])
        backup = lambda value: given + convolve(value[..., None], kernel[:, :, 1:])
        start = jnp.zeros(maps.shape[:-1])
        value, _ = jax.lax.scan(lambda v, _: (backup(v).max(-1), None), start, length=steps)
        q = backup(value)
        return planner.readout(q - q.max(-1, keepdims=True))

    def conv_gppn(planner, maps):
        cell = planner.cell
        given = convolve(maps, cell.input_kernel[...]) + cell.bias[...]
        update, reset, candidate = jnp.split(given, 3, axis=-1)

        def step(z, _):
            u, r = jnp.split(convolve(z, cell.gate_kernel[...]), 2, axis=-1)
            u, r = jax.nn.sigmoid(update + u), jax.nn.sigmoid(reset + r)
            c = jnp.tanh(candidate + convolve(r * z, cell.candidate_kernel[...]))
            return (1 - u) * z + u * c, None

        z, _ = jax.lax.scan(step, jnp.zeros((*maps.shape[:-1], width)), length=steps)
        return planner.readout(z)

    network = vin if kind == "VIN" else conv_gppn

    def step(params, opt_state, batch):
        def objective(params):
            planner = nnx.merge(graphdef, params)
            return loss_fn(functools.partial(network, planner), batch, None)[0]

        updates, opt_state = optimizer.update(jax.grad(objective)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    if work == "train":
        call, arguments = step, (params, optimizer.init(params), batch)
    else:
        call = lambda params, maps: network(nnx.merge(graphdef, params), maps)
        arguments = (params, batch.maps)
    return compiled_case(call, arguments)


def torch_arrays(kind, planner):
    """Our parameters by the names of the PyTorch networks."""
    array = lambda parameter: np.asarray(parameter[...])
    if kind == "VIN":
        kernel = np.asarray(planner.kernel())
        return {
            "mapper_kernel": array(planner.mapper.kernel),
            "mapper_bias": array(planner.mapper.bias),
            "reward_kernel": array(planner.mapper.out),
            "q_kernel": kernel[:, :, :1],
            "v_kernel": kernel[:, :, 1:],
            "readout_kernel": array(planner.readout.kernel),
        }
    cell = planner.cell
    return {
        "input_kernel": array(cell.input_kernel),
        "bias": array(cell.bias),
        "gate_kernel": array(cell.gate_kernel),
        "candidate_kernel": array(cell.candidate_kernel),
        "readout_kernel": array(planner.readout.kernel),
        "readout_bias": array(planner.readout.bias),
    }
