import jax
import jax.numpy as jnp
import pytest

import jplan as jp
from jplan.testing import assert_contraction, assert_monotone


def fresh():
    return jax.random.key(0)


LINEAR = lambda p, z: p @ z


def table(discount=0.9):
    keys = jax.random.split(jax.random.key(1))
    return jp.mdp.TabularMDP(
        transition=jax.nn.softmax(jax.random.normal(keys[0], (6, 3, 6))),
        reward=jax.random.normal(keys[1], (6, 3)),
        discount=discount,
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_a_scaling_has_exactly_its_modulus(dtype, x64):
    halve = lambda p, z: jax.tree.map(lambda leaf: (p * leaf).astype(leaf.dtype), z)
    z = {"a": jnp.zeros((2, 2), dtype), "b": jnp.zeros(3, dtype)}
    for norm in ("sup", "euclidean"):
        assert_contraction(halve, 0.5, z, fresh(), modulus=0.5, norm=norm)
        with pytest.raises(AssertionError, match=r"got .* expected at most 0.4 .*ratio 0\.[45]"):
            assert_contraction(halve, 0.5, z, fresh(), modulus=0.4, norm=norm)


def test_bellman_backup_contracts_with_its_discount_and_no_less():
    mdp = table()
    assert_contraction(jp.mdp.optimality_backup, mdp, jnp.zeros(6), fresh(), modulus=0.9)
    with pytest.raises(AssertionError, match="10 of 30 pairs"):
        assert_contraction(jp.mdp.optimality_backup, mdp, jnp.zeros(6), fresh(), modulus=0.89)


def test_random_signs_find_what_normal_differences_miss():
    """The sup norm of this matrix is 1.2, attained at one of the eight sign patterns only."""
    matrix = 0.4 * jnp.array([[1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    with pytest.raises(AssertionError, match=r"ratio 1\.2"):
        assert_contraction(LINEAR, matrix, jnp.zeros(3), fresh(), modulus=1.0)


def test_the_norm_matters():
    shear = jnp.array([[0.0, 0.0], [0.7, 0.7]])
    assert_contraction(LINEAR, shear, jnp.zeros(2), fresh(), modulus=0.999, norm="euclidean")
    with pytest.raises(AssertionError, match="sup norm"):
        assert_contraction(LINEAR, shear, jnp.zeros(2), fresh(), modulus=0.999)


def test_infinite_entries_stay_and_do_not_count():
    free = jnp.ones((4, 4), bool).at[1, 1].set(False)
    grid = jp.mdp.GridMDP.from_free(free, goal=(0, 0), discount=0.9)
    value = jp.mdp.value_iteration(grid).value
    assert jnp.isneginf(value).sum() == 1
    assert_contraction(jp.mdp.optimality_backup, grid, value, fresh(), modulus=0.9)
    assert_monotone(jp.mdp.optimality_backup, grid, value, fresh())


@pytest.mark.parametrize("check", [assert_monotone, assert_contraction])
def test_nan_fails(check):
    options = {"modulus": 1.0} if check is assert_contraction else {}
    with pytest.raises(AssertionError, match=r"got .*nan"):
        check(lambda p, z: z * jnp.nan, None, jnp.zeros(2), fresh(), **options)


def test_monotone_passes_and_fails():
    mdp = table()
    assert_monotone(jp.mdp.optimality_backup, mdp, jnp.zeros(6), fresh())
    assert_monotone(lambda p, z: z, None, jnp.full(3, 1e8), fresh())
    # Only entry 4 falls, and only when it alone is raised: the sum of a rise of all is positive.
    weight = jnp.ones((6, 6)).at[4, 4].set(-1.0)
    with pytest.raises(AssertionError, match=r"below .* at entry 4, expected"):
        assert_monotone(LINEAR, weight, jnp.zeros(6), fresh())


def test_one_bad_entry_of_many_is_found():
    """Raising one entry at a time would have to guess which."""
    fall = lambda p, z: z.at[777].multiply(-1.0)
    with pytest.raises(AssertionError, match="at entry 777"):
        assert_monotone(fall, None, jnp.zeros(2000), fresh())


def test_pairs_come_from_the_key():
    """A map that expands in a small corner is caught with enough pairs, and not with one."""
    corner = lambda p, z: jnp.where(z > 2.0, 10.0 * z, 0.0)
    assert_contraction(corner, None, jnp.zeros(1), fresh(), modulus=1.0, num_pairs=1)
    with pytest.raises(AssertionError, match="of 300 pairs"):
        assert_contraction(corner, None, jnp.zeros(1), fresh(), modulus=1.0, num_pairs=300)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="dtype int32, expected floating"):
        assert_monotone(LINEAR, jnp.eye(2), jnp.zeros(2, jnp.int32), fresh())
    with pytest.raises(ValueError, match="norm 'max', expected 'sup'"):
        assert_contraction(LINEAR, jnp.eye(2), jnp.zeros(2), fresh(), modulus=1.0, norm="max")
