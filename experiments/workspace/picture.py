"""What the mapper sees, what it makes of it, and the plan on that."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from runs import BINS

from jplan import envs, mdp, viz

KEY = 6  # of an arm that has to go around


def draw(model, path):
    """Workspace, true configuration map, the mapper's map, and the plan on the true one."""
    world, task = envs.arm_task(jax.random.key(KEY), BINS)
    picture = envs.arm_image(world)
    grid = mdp.GridMDP.from_free(task.free, goal=task.goal, moves=4, wrap=True)
    value = mdp.value_iteration(grid).value
    distance = jnp.where(jnp.isfinite(value), -value, -1)
    start = jnp.stack(jnp.unravel_index(distance.argmax(), distance.shape))
    map_logits = model.map(picture[None])
    out = model.plan(map_logits, task.goal[None])
    actions = out.logits[0].argmax(-1)
    plan = mdp.extract_path(grid, actions, start, max_length=4 * BINS)
    reached = f"{int(plan.num_steps)} steps" if plan.reached else "goal not reached"
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.8), layout="constrained")
    left.imshow(picture[..., 0], cmap="Greys")
    left.set(title="workspace, 96 x 96 pixels", xticks=[], yticks=[])
    middle.imshow(jax.nn.sigmoid(map_logits[0]), cmap="gray", vmin=0, vmax=1)
    wrong = jnp.argwhere((map_logits[0] > 0) != task.free)
    middle.scatter(wrong[:, 1], wrong[:, 0], marker="x", color="C3", label="wrong")
    middle.set(title="chance of being free, by the mapper", xticks=[], yticks=[])
    middle.legend(loc="upper right")
    viz.plot_map(
        *(task.free,),
        goal=task.goal,
        start=start,
        value=out.value[0],
        path=plan.positions,
        title=f"plan on the true map: {reached}, shortest {distance.max():.0f}",
        ax=right,
    )
    viz.save_figure(figure, path)
