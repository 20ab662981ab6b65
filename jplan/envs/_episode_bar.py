"""A progress bar that counts episodes."""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def episode_bar(label: str, total: int, *, enabled: bool) -> Progress:
    """A context manager with one task, ``task_ids[0]``; shows the time left."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=not enabled,
    )
    bar.add_task(label, total=total)
    return bar
