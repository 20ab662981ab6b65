import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jplan.nn import SteerableKernel, group_action, group_elements

KINDS = {
    "C4": ["trivial", "regular", "moves4", "moves8"],
    "D4": ["trivial", "regular", "moves4", "moves8"],
    "O": ["trivial", "regular", "moves6"],
    "Oh": ["trivial", "moves6"],
}


@pytest.mark.parametrize("group", KINDS)
def test_elements_form_a_group_of_signed_permutations(group):
    elements = group_elements(group)
    known = {e.tobytes() for e in elements}
    assert len(known) == {"C4": 4, "D4": 8, "O": 24, "Oh": 48}[group]
    np.testing.assert_array_equal(elements[0], np.eye(elements.shape[-1]))
    for a, b in itertools.product(elements[:8], elements):
        assert (a @ b).tobytes() in known
    assert (np.abs(elements).sum((1, 2)) == elements.shape[-1]).all()


@pytest.mark.parametrize(("group", "kind"), [(g, k) for g in KINDS for k in KINDS[g]])
def test_actions_are_homomorphisms(group, kind):
    elements, action = group_elements(group), group_action(group, kind)
    index = {e.tobytes(): i for i, e in enumerate(elements)}
    for g, h in itertools.product(range(min(8, len(elements))), range(len(elements))):
        product = index[(elements[g] @ elements[h]).tobytes()]
        np.testing.assert_array_equal(action[product], action[g][action[h]])


def test_a_quarter_turn_shifts_the_four_moves():
    turn = [i for i, e in enumerate(group_elements("C4")) if e.tolist() == [[0, -1], [1, 0]]]
    assert group_action("C4", "moves8")[turn[0]].tolist() == [1, 2, 3, 0, 5, 6, 7, 4]


def transform(field, element, action):
    """(g x)(g s; g c) = x(s; c), by the definition, cell by cell; the map is a cube."""
    size, dims = field.shape[0], field.ndim - 1
    centre = (size - 1) / 2
    out = np.full_like(field, np.nan)
    for cell in itertools.product(range(size), repeat=dims):
        moved = tuple(np.rint(element @ (np.array(cell) - centre) + centre).astype(int))
        out[moved][..., action] = field[cell]
    return out


@pytest.mark.parametrize(
    ("group", "inputs", "outputs"),
    [
        *((g, i, o) for g in ("C4", "D4") for i in KINDS[g] for o in KINDS[g]),
        ("O", "trivial", "moves6"),
        ("O", "regular", "moves6"),
        ("Oh", "moves6", "moves6"),
        ("Oh", "trivial", "trivial"),
    ],
)
def test_convolutions_commute_with_the_group(group, inputs, outputs, x64):
    kernel = SteerableKernel(group, (inputs, 2), (outputs, 3), kernel_size=3, rngs=nnx.Rngs(0))()
    elements, dims = group_elements(group), group_elements(group).shape[-1]
    ins, outs = group_action(group, inputs), group_action(group, outputs)
    x = np.random.default_rng(0).normal(size=(*[4] * dims, ins.shape[1] * 2))
    letters = "DHW"[-dims:]
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")

    apply = jax.jit(
        lambda x: jax.lax.conv_general_dilated(
            x[None], kernel, [1] * dims, "SAME", dimension_numbers=numbers
        )[0]
    )
    convolve = lambda x: np.asarray(apply(jnp.asarray(x)))

    expand = lambda action, fields: (action[:, None] * fields + np.arange(fields)).ravel()
    y = convolve(x)
    for element, i, o in list(zip(elements, ins, outs, strict=True))[:: max(1, len(elements) // 8)]:
        turned = convolve(transform(x, element, expand(i, 2)))
        np.testing.assert_allclose(turned, transform(y, element, expand(o, 3)), atol=1e-12)
    assert np.abs(y).max() > 0.1


def test_free_weights_are_counted_right():
    count = lambda *kinds: SteerableKernel(
        "D4", *((kind, 1) for kind in kinds), kernel_size=3, rngs=nnx.Rngs(0)
    ).weights.shape[0]
    assert count("trivial", "trivial") == 3  # centre, edges, corners
    assert count("trivial", "regular") == 9
    assert count("regular", "regular") == 72


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("D5", ("trivial", 1), ("regular", 1)), "one of C4, D4, O, Oh"),
        (("D4", ("vector", 1), ("regular", 1)), r"kind is 'vector'.*moves4.*moves8"),
        (("D4", ("trivial", 1), ("moves6", 1)), "2 dimensions"),
        (("D4", ("trivial", 0), ("regular", 1)), "inputs is 0"),
    ],
)
def test_mistakes_get_advice(arguments, message):
    with pytest.raises(ValueError, match=message):
        SteerableKernel(*arguments, kernel_size=3, rngs=nnx.Rngs(0))
