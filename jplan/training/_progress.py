"""A progress bar that tells rate, metrics and the time left."""

from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar:
    """Progress of a training run on the terminal; a context manager.

    Args:
      label: what is being trained.
      total: number of steps.
      start: steps already done.
      enabled: False prints nothing.
    """

    def __init__(self, label: str, total: int, *, start: int = 0, enabled: bool = True) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}  {task.fields[metrics]}"),
            TimeRemainingColumn(),
            disable=not enabled,
        )
        self._task = self._progress.add_task(
            label, total=total, completed=start, rate="", metrics=""
        )

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def update(self, step: int, *, rate: float, metrics: dict[str, float]) -> None:
        """Show a finished step, the rate in steps per second, and loss and success if known."""
        shown = [name for name in ("loss", "success") if name in metrics]
        text = "  ".join(f"{name} {metrics[name]:.3f}" for name in shown)
        self._progress.update(self._task, completed=step, rate=f"{rate:.1f} steps/s", metrics=text)
