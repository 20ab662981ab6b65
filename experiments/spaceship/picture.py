"""Figures: a flight, with its waypoints, planet and signals, drawn and as an animation."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import animation
from matplotlib.patches import Circle

from jplan import viz

COLOURS = "C0", "C1", "C2", "0.6"  # of the signals; the last is silence


def draw_world(axes, flight):
    """Planet and waypoints of a flight, on axes that hold all of it."""
    planet, waypoints = flight.rollout.states.planet[0], flight.rollout.states.waypoints[0]
    radius = float(flight.rollout.states.planet_radius[0])
    axes.add_patch(Circle(planet[::-1], radius, color="0.3"))
    for place, size, colour in zip(
        waypoints, flight.rollout.states.waypoint_radii[0], COLOURS, strict=False
    ):
        axes.add_patch(Circle(place[::-1], float(size), color=colour, alpha=0.4))
    points = np.concatenate([flight.rollout.states.position, waypoints, planet[None]])
    low, high = points.min(0) - 45, points.max(0) + 45
    axes.set(xlim=(low[1], high[1]), ylim=(low[0], high[0]), aspect="equal", xticks=[], yticks=[])


def draw_paths(flights, path):
    """Paths of several flights; the dots have the colour of the signal, grey is silence."""
    figure, panels = plt.subplots(
        1, len(flights), figsize=(4 * len(flights), 4), squeeze=False, layout="constrained"
    )
    for axes, flight in zip(panels[0], flights, strict=True):
        draw_world(axes, flight)
        y, x = flight.rollout.states.position.T
        axes.plot(x, y, color="0.8", linewidth=1, zorder=1)
        shades = [COLOURS[index] for index in flight.actions["signal"].argmax(-1)]
        axes.scatter(x[1:], y[1:], c=shades, s=12, zorder=2)
        axes.plot(x[0], y[0], "k^")
        axes.set_title(f"return {flight.rollout.rewards.sum():.1f}")
    viz.save_figure(figure, path)


def animate_flight(flight, path):
    """A GIF: the ship in the colour of its signal, and its thrust."""
    figure, axes = plt.subplots(figsize=(4, 4.3), layout="constrained")
    rewards = np.cumsum(flight.rollout.rewards)

    def draw(index):
        axes.clear()
        draw_world(axes, flight)
        y, x = flight.rollout.states.position[index + 1]
        thrust = 60 * flight.actions["thrust"][index]
        colour = COLOURS[flight.actions["signal"][index].argmax()]
        axes.add_patch(Circle((x, y), float(flight.rollout.states.ship_radius[0]), color=colour))
        axes.plot([x, x + thrust[1]], [y, y + thrust[0]], color="C3")
        axes.set_title(f"step {index + 1}, return {rewards[index]:.1f}")

    film = animation.FuncAnimation(figure, draw, frames=range(1, len(rewards), 2))
    film.save(path, writer=animation.PillowWriter(fps=8))
    plt.close(figure)
