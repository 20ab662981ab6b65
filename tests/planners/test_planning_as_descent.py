import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan import envs
from jplan.planners import DescentPlanner, extend_past, first_past, pursue

SMALL = {"horizon": 12, "max_past": 4, "width": 8, "hidden": 16, "heads": 2, "network_hidden": 16}


def make(**options):
    return DescentPlanner(4, 2, **(SMALL | options), rngs=nnx.Rngs(0))


def line_energy(_, future, past, goal, progress):
    """Least, and 0, on even steps to the goal that end where the progress says."""
    count = len(future)
    share = (jnp.arange(count) + 1) / (1 + progress * (count - 1))
    line = past[-1:] + jnp.minimum(share, 1)[:, None] * (goal - past[-1])[None]
    return jnp.sum((future - line) ** 2) / 2


PAST, GOAL = jnp.zeros((2, 3)), jnp.ones(3)
plan_line = functools.partial(
    jp.planning_as_descent, line_energy, None, PAST, GOAL, horizon=6, candidates=32, keep=8
)


def test_descent_finds_the_line(key):
    plan = plan_line(key, num_steps=1, step_size=1.0)
    share = (jnp.arange(6) + 1) / (1 + plan.progress * 5)
    np.testing.assert_allclose(plan.latents, jnp.outer(share.clip(max=1), GOAL), atol=1e-5)
    assert plan.energies.shape == (32, 2)
    assert plan.candidates.shape == (32, 6, 3)


def test_what_is_returned_is_the_candidate(key):
    plan = plan_line(key, num_steps=2, step_size=0.3)
    np.testing.assert_array_equal(plan.latents, plan.candidates[plan.index])
    assert plan.energy == plan.energies[plan.index, -1]
    assert plan.progress == plan.progresses[plan.index]


def test_the_choice_is_among_the_lowest():
    energies = []
    for seed in range(20):
        plan = plan_line(jax.random.key(seed), num_steps=1, step_size=0.5)
        rank = (plan.energies[:, -1] < plan.energy).sum()
        assert rank < 8
        energies.append(int(rank))
    assert len(set(energies)) > 3  # and not always the lowest


def test_early_arrivals_are_preferred():
    flat = lambda params, future, past, goal, progress: 0.0 * jnp.sum(future)
    draw = lambda key: (
        jp.planning_as_descent(
            flat, None, PAST, GOAL, key, horizon=2, candidates=64, keep=64
        ).progress
    )
    mean = jax.vmap(draw)(jax.random.split(jax.random.key(0), 2000)).mean()
    # The mean of a density proportional to exp(-x) on [0, 1] is 1 - 1 / (e - 1).
    assert abs(mean - (1 - 1 / (np.e - 1))) < 0.02


def test_no_step_leaves_the_noise(key):
    plan = plan_line(key, num_steps=0)
    assert plan.energies.shape == (32, 1)
    assert abs(plan.candidates.std() - 1) < 0.1


def test_one_candidate(key):
    plan = jp.planning_as_descent(line_energy, None, PAST, GOAL, key, horizon=6, candidates=1)
    assert plan.index == 0


def test_a_candidate_that_is_not_finite_is_never_chosen():
    def energy(_, future, past, goal, progress):
        return jnp.where(progress < 0.5, jnp.nan, 1.0) * jnp.sum(future**2)

    draw = lambda key: jp.planning_as_descent(
        energy, None, PAST, GOAL, key, horizon=2, candidates=8, keep=8, step_size=0.1
    )
    plans = jax.vmap(draw)(jax.random.split(jax.random.key(0), 200))
    some = (plans.progresses >= 0.5).any(-1)
    assert (plans.progress[some] >= 0.5).all()
    assert (plans.progresses < 0.5).any()
    lost = jp.planning_as_descent(
        lambda *_: jnp.float32(jnp.nan), None, PAST, GOAL, jax.random.key(0), horizon=2
    )
    assert jnp.isinf(lost.energy)


def test_chunks_change_nothing(key):
    whole = plan_line(key, step_size=0.3)
    parts = plan_line(key, step_size=0.3, batch_size=5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), whole, parts)


def test_steps_that_raise_the_energy_can_be_refused(key):
    wild = plan_line(key, num_steps=3, step_size=2.5)
    tame = plan_line(key, num_steps=3, step_size=2.5, accept=jnp.greater)
    assert (wild.energies[:, -1] > wild.energies[:, 0]).all()
    assert (jnp.diff(tame.energies, axis=1) <= 0).all()


def test_a_plan_does_not_depend_on_the_rest_of_the_batch():
    planner = make()
    plan = jax.jit(jax.vmap(lambda past, goal, key: planner.plan(past, goal, key, candidates=4)))
    pasts = jax.random.normal(jax.random.key(0), (3, 4, 4))
    goals = jax.random.normal(jax.random.key(1), (3, 4))
    keys = jax.random.split(jax.random.key(2), 3)
    before = plan(pasts, goals, keys)
    after = plan(pasts.at[1:].multiply(7.0), goals.at[1:].add(3.0), keys)
    first = lambda plan: jax.tree.map(lambda leaf: leaf[0], plan)
    jax.tree.map(np.testing.assert_array_equal, first(before), first(after))
    assert (before.latents[1] != after.latents[1]).any()


def test_a_candidate_does_not_depend_on_the_others(key):
    planner = make()
    past, goal = jnp.ones((4, 4)), jnp.zeros(4)
    few = planner.plan(past, goal, key, candidates=4)
    alone = planner.descend(
        jax.random.normal(jax.random.split(key, 3)[0], (4, 12, 8))[2],
        *(planner.encoder(past), planner.encoder(goal), few.progresses[2]),
    )
    np.testing.assert_allclose(few.candidates[2], alone.value, rtol=1e-4, atol=1e-5)


def test_a_seeded_plan_repeats_bit_for_bit(key):
    once, again = (
        jax.jit(lambda key: make().plan(jnp.ones((4, 4)), jnp.zeros(4), key, candidates=4))(key)
        for _ in range(2)  # the planner is built and the program compiled anew
    )
    jax.tree.map(np.testing.assert_array_equal, once, again)


def test_switches(key):
    past, goal = jnp.ones((4, 4)), jnp.zeros(4)
    bare = make(projected=False, timed=False)
    assert bare.projector is None
    early, late = (
        bare.energy_fn()[0](
            bare.energy_fn()[1], jnp.ones((12, 8)), jnp.ones((4, 8)), jnp.ones(8), jnp.float32(t)
        )
        for t in (0.0, 1.0)
    )
    assert early == late
    plan = bare.plan(past, goal, key, candidates=4, num_steps=3)
    assert plan.energies.shape == (4, 4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"horizon": 0}, "horizon is 0"),
        ({"candidates": 0}, "candidates is 0"),
        ({"keep": 0}, "keep is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_steps": -1}, "num_steps is -1"),
    ],
)
def test_numbers_out_of_range(options, match, key):
    with pytest.raises(ValueError, match=match):
        jp.planning_as_descent(line_energy, None, PAST, GOAL, key, **({"horizon": 2} | options))


def test_shapes_that_do_not_fit(key):
    with pytest.raises(ValueError, match="past and goal have shapes"):
        jp.planning_as_descent(line_energy, None, PAST, jnp.ones(2), key, horizon=3)
    vector = lambda params, future, past, goal, progress: future[:, 0]
    with pytest.raises(ValueError, match="expected a scalar"):
        jp.planning_as_descent(vector, None, PAST, GOAL, key, horizon=3)
    with pytest.raises(ValueError, match=r"states have shape \[3\]"):
        make().plan(jnp.ones((4, 4)), jnp.ones(3), key)


def test_pasts():
    past = first_past(jnp.array([1.0, 2.0]), 3)
    assert past.tolist() == [[1, 2]] * 3
    assert extend_past(past, jnp.array([5.0, 6.0])).tolist() == [[1, 2], [1, 2], [5, 6]]


def test_pursuit_carries_out_each_plan(key):
    free = np.zeros((5, 5), bool)
    free[1:4, 1:4] = True
    world = envs.point_maze(free)
    state = world.reset_fn(key)
    goal = jnp.append(state.goal, jnp.zeros(2))
    planner = make()
    run = lambda n: pursue(
        planner, world, state, goal, key, num_steps=6, replan_every=n, candidates=4
    )
    episode = run(3)
    assert episode.energies.shape == (2,)
    past = first_past(world.observe_fn(state), 4)
    for part in range(2):
        plan = planner.plan(past, goal, jax.random.split(key, 2)[part], candidates=4, keep=8)
        actions = planner.first_actions(plan, past, 3)
        np.testing.assert_allclose(episode.actions[3 * part :][:3], actions, rtol=1e-4, atol=1e-5)
        for action in actions:
            state, *_ = world.step_fn(None, state, action)
            past = extend_past(past, world.observe_fn(state))
        np.testing.assert_allclose(
            episode.states.position[3 * (part + 1)], state.position, atol=1e-4
        )
    with pytest.raises(ValueError, match="replan_every is 4"):
        run(4)


@pytest.mark.parametrize("transform", [jax.lax.map, lambda f, xs: jax.vmap(f)(xs)])
def test_nothing_is_planned_once_the_episode_is_over(transform, key):
    bound = jnp.ones(2)
    clock = envs.World(
        reset_fn=lambda key: jnp.zeros(()),
        step_fn=lambda params, t, action: (t + 1, 0.0 + (t == 3), 1.0 - (t >= 3)),
        observe_fn=lambda t: jnp.full(4, t),
        action_space=jp.Box(-bound, bound),
        max_steps=9,
    )
    run = lambda key: pursue(
        *(make(), clock, jnp.zeros(()), jnp.ones(4), key),
        num_steps=9,
        replan_every=3,
        candidates=4,
    )
    episode = transform(run, jax.random.split(key, 2))
    assert (jax.vmap(lambda one: one.length)(episode) == 4).all()
    np.testing.assert_array_equal(episode.rewards.sum(1), 1)
    np.testing.assert_array_equal(episode.states[:, -1], 9)
    for numbers in (episode.energies, episode.progresses):
        np.testing.assert_array_equal(jnp.isnan(numbers), [[False, False, True]] * 2)
    assert (episode.actions[:, :6] != 0).all()
    assert (episode.actions[:, 6:] == 0).all()


def test_length_of_a_pursuit():
    make_one = lambda discounts: jp.planners.Pursuit(
        states=None,
        actions=None,
        rewards=None,
        discounts=jnp.array(discounts),
        energies=None,
        progresses=None,
    )
    assert make_one([1.0, 0.0, 0.0]).length == 2
    assert make_one([1.0, 1.0, 1.0]).length == 3
