"""Checks of the sizes that modules are made of."""

import numbers


def check_sizes(**sizes: int | None) -> None:
    """ValueError unless every size that is given is a whole number from 1 on."""
    for name, size in sizes.items():
        if size is not None and (not isinstance(size, numbers.Integral) or size < 1):
            raise ValueError(f"{name} is {size!r}, expected a whole number from 1 on.")


def check_padding(padding: str) -> None:
    """ValueError unless it is one of the two that exist."""
    if padding not in ("zero", "wrap"):
        raise ValueError(
            f"padding is {padding!r}, expected 'zero' (the map ends at its edges) or 'wrap' (it is "
            "a torus)."
        )


def check_kernel_size(kernel_size: int) -> None:
    """ValueError unless the kernel has a centre cell."""
    if not isinstance(kernel_size, numbers.Integral) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"kernel_size is {kernel_size!r}, expected an odd number; an even kernel has no "
            "centre cell."
        )
