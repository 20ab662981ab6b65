"""Published success rates on OGBench's cube data sets, to print beside our own.

Percent over 5 tasks x 50 episodes, mean and standard deviation over 8 seeds, mean of the last three
evaluations in 1M steps: Park et al. 2025, "OGBench: Benchmarking Offline Goal-Conditioned RL"
(ICLR 2025, arXiv 2410.20092), table 2, state-based cube rows, taken from a public transcription.
"""

METHODS = ("GCBC", "GCIVL", "GCIQL", "QRL", "CRL", "HIQL")

# (mean, standard deviation) for each of METHODS.
OGBENCH = {
    "cube-single-play": ((6, 2), (53, 4), (68, 6), (5, 1), (19, 2), (15, 3)),
    "cube-single-noisy": ((8, 3), (71, 9), (99, 1), (25, 6), (38, 2), (41, 6)),
    "cube-double-play": ((1, 1), (36, 3), (40, 5), (1, 0), (10, 2), (6, 2)),
    "cube-double-noisy": ((1, 1), (14, 3), (23, 3), (3, 1), (2, 1), (2, 1)),
    "cube-triple-play": ((1, 1), (1, 0), (3, 1), (0, 0), (4, 1), (3, 1)),
    "cube-triple-noisy": ((1, 1), (9, 1), (2, 1), (1, 0), (3, 1), (2, 1)),
    "cube-quadruple-play": ((0, 0),) * 6,
    "cube-quadruple-noisy": ((0, 0),) * 6,
}


def published_rows(data_set):
    """Rows of success in percent with the methods' names, best first.

    Args:
      data_set: "cube-single-play" and so on.
    """
    rows = [
        {"method": method, "success": mean, "deviation": deviation}
        for method, (mean, deviation) in zip(METHODS, OGBENCH[data_set], strict=True)
    ]
    return sorted(rows, key=lambda row: -row["success"])
