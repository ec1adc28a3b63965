"""Time and memory of the solver: the choice of the penalties, and the final fit, on drawn features.

    python benchmarks/solver.py --images 1200 --attributes 4

Features are normal, 1,280 per image in two views, with a falling spectrum as that of real ones; half of the
entries are known, and a linear function of the features with noise gives the labels.
"""

import argparse
import resource
import time

import numpy as np
import torch

from aimonk.training.logistic import Problems, finish, solve
from aimonk.training.penalties import choose_penalties
from aimonk.training.solver import ITERATIONS, TOLERANCE, principal_axes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--attributes", type=int, default=4)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--views", type=int, default=2)
    n, count, width, views = vars(parser.parse_args()).values()
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(n, width, generator=generator, dtype=torch.float64)
    base *= 11.3 * torch.arange(1, width + 1).double().pow(-0.5) / np.log(width) ** 0.5
    features = (base + 0.1 * torch.randn(views, n, width, generator=generator)).reshape(-1, width)
    weight = torch.randn(width, count, generator=generator, dtype=torch.float64)
    labels = (base @ weight / 8 + torch.randn(n, count, generator=generator) > 1).double()
    weights = (torch.rand(n, count, generator=generator) < 0.5).double()
    del base
    started = time.perf_counter()
    features -= features.mean(0)
    inputs = features @ principal_axes(features)
    del features
    rotated = time.perf_counter()
    single = (x.float() for x in (inputs, labels, weights))
    penalty = choose_penalties(*single, np.arange(n), 5, 0).penalty
    chosen = time.perf_counter()
    problems = Problems(
        inputs,
        labels.repeat(views, 1),
        weights.repeat(views, 1) / views,
        torch.from_numpy(penalty),
        TOLERANCE,
    )
    solution = solve(problems, ITERATIONS)
    by_newton = int((~solution.converged).sum())
    finish(problems, solution)
    ended = time.perf_counter()
    print(f"{n} images x {count} attributes x {width} features x {views} views")
    print(f"principal components   {rotated - started:7.2f} s")
    print(f"choice of penalties    {chosen - rotated:7.2f} s  ({penalty.min():.2g} to {penalty.max():.2g})")
    print(f"final fit              {ended - chosen:7.2f} s  ({by_newton} of {count} by Newton's method)")
    print(f"peak memory            {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:7.2f} GB")


if __name__ == "__main__":
    main()
