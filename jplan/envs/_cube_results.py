"""What episodes of the cube tasks came to."""

import math
from typing import Any

import numpy as np
from flax import struct


@struct.dataclass(kw_only=True)
class CubeResults:
    """Outcomes of K episodes.

    Attributes:
      task: int32 [K], 1 to 5.
      episode: int32 [K], number within the task, from 0.
      is_success: bool [K], all cubes were within 4 cm of their targets at once.
      length: int32 [K], steps taken, up to the success.
      final_distance: float64 [K], metres from its target of the cube farthest from it, at the end.
      frames: pictures of the recorded episodes by their index in K, uint8 [length + 1, H, W, 3].

    Example: see `evaluate_cube_policy`.
    """

    task: np.ndarray
    episode: np.ndarray
    is_success: np.ndarray
    length: np.ndarray
    final_distance: np.ndarray
    frames: dict[int, np.ndarray]

    def rows(self) -> list[dict[str, Any]]:
        """One for each episode, for a CSV file."""
        return [
            {
                "task": int(self.task[k]),
                "episode": int(self.episode[k]),
                "success": int(self.is_success[k]),
                "length": int(self.length[k]),
                "final_distance": round(float(self.final_distance[k]), 4),
            }
            for k in range(len(self.task))
        ]

    def summary(self) -> list[dict[str, Any]]:
        """One row for each task and one for all: success from 0 to 1 with its 95 % interval.

        ``mean_length`` is of the successes, NaN if there are none; ``mean_distance`` of all.
        """
        rows = []
        for name in (*map(int, np.unique(self.task)), "all"):
            chosen = np.full(len(self.task), True) if name == "all" else self.task == name
            is_success = self.is_success[chosen]
            lengths = self.length[chosen][is_success]
            low, high = wilson_interval(int(is_success.sum()), len(is_success))
            rows.append(
                {
                    "task": name,
                    "episodes": len(is_success),
                    "success": float(is_success.mean()),
                    "low": low,
                    "high": high,
                    "mean_length": float(lengths.mean()) if lengths.size else math.nan,
                    "mean_distance": float(self.final_distance[chosen].mean()),
                }
            )
        return rows


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a probability.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), p = successes / n

    Args:
      successes: 0 to ``trials``.
      trials: n, at least 1.

    Returns:
      Low and high end, in [0, 1].

    Raises:
      ValueError: if the counts are out of range.

    Differentiability: none.

    Example:
      >>> low, high = wilson_interval(95, 100)
      >>> f"{low:.3f} {high:.3f}"
      '0.888 0.978'

    References: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(
            f"wilson_interval: got {successes} of {trials}, expected 0 to trials of at least 1"
        )
    z = 1.959963984540054
    share = successes / trials
    spread = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    middle, scale = share + z * z / (2 * trials), 1 + z * z / trials
    # Exact at the ends, where rounding would leave a tiny number.
    low = (middle - spread) / scale if successes else 0.0
    high = (middle + spread) / scale if successes < trials else 1.0
    return low, high
