"""Roadmaps with a current: trained on 200 nodes, measured on 1,000."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jplan import envs, mdp, planners, training

SCAN = jax.jit(training.scan_steps, static_argnames=training.SCAN_STATIC)
NODES, STEPS = 200, 1500
UNSEEN = {200: 50, 1000: 50}  # roadmaps of each size


def make_batch(key, nodes, count):
    """Roadmaps, their optimal next nodes, and which nodes count."""
    graphs = jax.vmap(lambda key: envs.roadmap(key, nodes))(jax.random.split(key, count))

    def solve(graph):
        problem = envs.roadmap_mdp(graph)
        value = mdp.value_iteration(problem).value
        # Costs are real numbers, so the only ties are those of rounding.
        return mdp.optimal_actions(problem, value, tol=1e-6), jnp.isfinite(value) & (value < 0)

    return graphs, *jax.vmap(solve)(graphs)


@functools.cache
def make_batch_fn(nodes, count):
    """Batches of `make_batch`; one function for all seeds."""
    return functools.partial(make_batch, nodes=nodes, count=count)


def loss_fn(planner, batch, key):
    """Imitation at all nodes that can reach the goal."""
    del key
    graphs, optimal, mask = batch
    logits = planner(graphs)
    target = optimal / jnp.maximum(optimal.sum(-1, keepdims=True), 1)
    losses = optax.losses.safe_softmax_cross_entropy(logits, target)
    mean = lambda values: jnp.where(mask, values, 0).sum() / mask.sum()
    return mean(losses), {"accuracy": mean(is_optimal(logits, optimal))}


def is_optimal(logits, optimal):
    """Whether the greedy next node is an optimal one."""
    return jnp.take_along_axis(optimal, logits.argmax(-1, keepdims=True), axis=-1)[..., 0]


@functools.partial(jax.jit, static_argnames=("graphdef", "nodes", "count"))
def measure(state, key, *, graphdef, nodes, count):
    """Share of nodes with an optimal next step, how many count, and the longest solve."""
    planner = nnx.merge(graphdef, state)

    def on_one(key):
        graphs, optimal, mask = make_batch(key, nodes, 1)
        out = planner.solve(graphs)
        right = mask & is_optimal(out.logits, optimal)
        return right.sum() / mask.sum(), mask.mean(), out.solution.num_steps.max()

    shares, counted, steps = jax.lax.map(on_one, jax.random.split(key, count))
    return shares.mean(), counted.mean(), steps.max()


def symmetry_gap(planner, nodes):
    """Largest difference of a logit between a roadmap and turned or reflected copies."""
    graph = jax.jit(envs.roadmap, static_argnums=1)(jax.random.key(3), nodes)
    plan = nnx.jit(lambda graph: planner(graph))
    gaps = []
    for index, key in enumerate(jax.random.split(jax.random.key(4), 8)):
        turn, _ = jnp.linalg.qr(jax.random.normal(key, (3, 3)))
        turn = (-1) ** index * turn  # of a turn and its negative one is a reflection
        turned = dataclasses.replace(
            graph, positions=graph.positions @ turn.T, current=graph.current @ turn.T
        )
        gaps.append(jnp.abs(plan(turned) - plan(graph)).max())
    return float(jnp.stack(gaps).max())


def run_roadmaps(seed, out, smoke):
    """Rows of the table, one a size."""
    steps, nodes, count = (2, 40, 2) if smoke else (STEPS, NODES, 8)
    planner, log = training.train(
        planners.RoadmapVIN(rngs=nnx.Rngs(seed)),
        SCAN,
        batch_fn=make_batch_fn(nodes, count),
        loss_fn=loss_fn,
        optimizer=training.cosine_adam(1e-2, steps),
        key=jax.random.key(seed),
        num_steps=steps,
        steps_per_call=2 if smoke else 20,
        directory=out / "runs" / f"roadmaps_{seed}",
        settings={"steps": steps},
        label=f"roadmaps, seed {seed}",
    )
    gap = symmetry_gap(planner, nodes)
    graphdef, state = nnx.split(planner)
    for nodes, count in ({40: 2} if smoke else UNSEEN).items():
        key = jax.random.key(2027 + nodes)
        share, counted, most = measure(state, key, graphdef=graphdef, nodes=nodes, count=count)
        row = {"seed": seed, "nodes": nodes, "roadmaps": count, "counted": round(float(counted), 4)}
        row |= {"optimal_next_steps": round(float(share), 5), "most_iterations": int(most)}
        yield row | {"symmetry_gap": f"{gap:.1e}", "train_seconds": round(log[-1]["seconds"], 1)}
