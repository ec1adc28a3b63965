"""Many L2-penalised logistic regressions on the same features, solved together."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import softplus

MEMORY = 10  # pairs of steps and gradient changes behind each direction (Nocedal 1980, "Updating quasi-Newton
# matrices with limited storage")
LINE_STEPS = 12  # Newton iterations along a direction, at most
NEWTON_STEPS = 200
NEWTON_TOLERANCE = 1e-2  # of L-BFGS's: logits move on where the gradient hardly does


@dataclass
class Problems:
    """P regressions: the sum of the weighted losses of attribute a, plus |coefficients|^2 * penalty / 2.

    Attributes:
        features: [N, R], the same for all; columns with a mean of 0 and no correlation converge fastest.
        labels: 0 to 1, [N, P].
        weights: Weight of each entry, [N, P]; 0 leaves it out.
        penalty: [P], positive; 1 / C of scikit-learn's LogisticRegression. The intercept has none.
        tolerance: Length of the gradient, relative to that at coefficients of 0, that ends the iteration.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor
    penalty: Tensor
    tolerance: float

    def take(self, columns: Tensor) -> "Problems":
        """Some of the problems."""
        labels, weights, penalty = (x[..., columns] for x in (self.labels, self.weights, self.penalty))
        return replace(self, labels=labels, weights=weights, penalty=penalty)

    def losses(self, logits: Tensor, coefficients: Tensor) -> Tensor:
        """Objective of each problem, [P]; arguments as in `gradient`."""
        data = (self.weights * (softplus(logits) - self.labels * logits)).sum(0)
        return data + self.penalty / 2 * coefficients[:-1].square().sum(0)

    def gradient(self, logits: Tensor, coefficients: Tensor) -> Tensor:
        """Gradient of each objective, [R + 1, P].

        Args:
            logits: [N, P], those of the coefficients.
            coefficients: [R + 1, P], the intercept last.
        """
        slopes = self.weights * (torch.sigmoid(logits) - self.labels)
        inner = torch.addcmul(self.features.T @ slopes, self.penalty, coefficients[:-1])
        return torch.cat([inner, slopes.sum(0, keepdim=True)])

    def curvature(self) -> Tensor:
        """Diagonal of the Hessian at coefficients of 0 and the best intercept, [R + 1, P].

        Of features without correlation, it is nearly the entire Hessian.
        """
        total = self.weights.sum(0)
        rate = ((self.weights * self.labels).sum(0) / total.clamp(min=1e-30)).clamp(1e-3, 1 - 1e-3)
        spread = total * rate * (1 - rate)
        squares = self.features.square().mean(0)
        inner = squares[:, None] * spread + self.penalty
        return torch.cat([inner, spread[None].clamp(min=1e-30)])


def has_both(labels: Tensor, weights: Tensor) -> Tensor:
    """Whether each attribute has known positives and known negatives, [A]."""
    return ((weights * labels).sum(0) > 0) & ((weights * (1 - labels)).sum(0) > 0)


@dataclass
class Solution:
    """Coefficients of P problems.

    Attributes:
        coefficients: [R + 1, P], the intercept last.
        logits: [N, P].
        converged: [P].
        history: Sum of all objectives after each iteration.
    """

    coefficients: Tensor
    logits: Tensor
    converged: Tensor
    history: list[float] = field(default_factory=list)


def solve(problems: Problems, iterations: int = 500, start: Tensor | None = None) -> Solution:
    """Solve all problems by L-BFGS; those that have converged are left alone.

    The direction is that of L-BFGS in coordinates where the curvature at the start is 1; the step along it
    is the minimum, found by Newton's method on precomputed logits.

    Args:
        start: Coefficients to start from, [R + 1, P]; None starts from 0.
    """
    x, count = problems.features, len(problems.penalty)
    coefficients = x.new_zeros(x.shape[1] + 1, count) if start is None else start.clone()
    logits = x @ coefficients[:-1] + coefficients[-1]
    solution = Solution(coefficients, logits, torch.zeros(count, dtype=torch.bool, device=x.device))
    zeros = torch.zeros_like(logits)
    scale = problems.curvature().rsqrt()
    limit = problems.tolerance * (problems.gradient(zeros, torch.zeros_like(coefficients)) * scale).norm(
        dim=0
    )
    active, rest = torch.arange(count, device=x.device), problems
    gradient, steps, changes = problems.gradient(logits, coefficients), [], []
    objectives = problems.losses(logits, coefficients)
    for _ in range(iterations):
        done = (gradient * scale).norm(dim=0) <= limit[active]
        solution.converged[active] = done
        if done.all():
            break
        if done.sum() * 4 > len(active):  # copies are worth their time only now and then
            keep = ~done
            active, rest = active[keep], rest.take(keep)
            gradient, scale = gradient[:, keep], scale[:, keep]
            steps, changes = ([s[:, keep] for s in pairs] for pairs in (steps, changes))
        direction = -scale * quasi_newton(gradient * scale, steps, changes)
        now, at = solution.coefficients[:, active], solution.logits[:, active]
        along = x @ direction[:-1] + direction[-1]
        length = line_minimum(rest, now, direction, at, along)
        now, at = now + length * direction, at + length * along
        solution.coefficients[:, active], solution.logits[:, active] = now, at
        new = rest.gradient(at, now)
        steps, changes = (
            [*pairs[-MEMORY + 1 :], pair]
            for pairs, pair in ((steps, length * direction / scale), (changes, (new - gradient) * scale))
        )
        gradient = new
        objectives[active] = rest.losses(at, now)
        solution.history.append(float(objectives.sum()))
    return solution


def finish(problems: Problems, solution: Solution) -> None:
    """Solve the problems that have not converged by Newton's method, one after another.

    With a weak penalty and separable classes, a few images near the boundary determine the Hessian, which
    L-BFGS approximates slowly.
    """
    x = torch.cat([problems.features, problems.features.new_ones(len(problems.features), 1)], dim=1)
    zeros = torch.zeros_like(solution.coefficients)
    scale = problems.curvature().rsqrt()
    limit = NEWTON_TOLERANCE * problems.tolerance * (problems.gradient(x @ zeros, zeros) * scale).norm(dim=0)
    for p in (~solution.converged).nonzero().flatten().tolist():
        one, own = problems.take(torch.tensor([p], device=x.device)), solution.coefficients[:, [p]]
        known = one.weights[:, 0] > 0
        one = replace(one, features=x[known, :-1], labels=one.labels[known], weights=one.weights[known])
        own, solution.converged[p] = newton(one, x[known], own, scale[:, p], float(limit[p]))
        solution.coefficients[:, [p]], solution.logits[:, [p]] = own, x @ own
    solution.history.append(float(problems.losses(solution.logits, solution.coefficients).sum()))


def newton(problem: Problems, x: Tensor, start: Tensor, scale: Tensor, limit: float) -> tuple[Tensor, bool]:
    """Coefficients of one problem, [R + 1, 1], and whether they have converged.

    A Hessian serves several steps, as long as each reduces the gradient tenfold; single precision suffices
    for it, since it only sets the direction.

    Args:
        x: Features and a column of ones, [n, R + 1].
        scale: Multiplies the gradient, [R + 1].
        limit: Length of the scaled gradient that ends the iteration.
    """
    coefficients, factor, before = start, None, math.inf
    single, diagonal = x.float(), torch.full_like(start[:, 0], float(problem.penalty))
    diagonal[-1] = 0
    for _ in range(NEWTON_STEPS):
        logits = x @ coefficients
        gradient = problem.gradient(logits, coefficients)
        length = float((gradient[:, 0] * scale).norm())
        if length <= limit:
            return coefficients, True
        if factor is None or length > before / 10:
            prob = torch.sigmoid(logits)
            weighted = single * (problem.weights * prob * (1 - prob)).sqrt().float()
            hessian = (weighted.T @ weighted).double() + diagonal.diag()
            # rounding may leave it slightly indefinite where the penalty is very weak
            hessian.diagonal().add_(1e-6 * float(hessian.diagonal().mean()))
            factor = torch.linalg.cholesky(hessian)
        direction = -torch.cholesky_solve(gradient, factor)
        before = length
        coefficients = (
            coefficients + line_minimum(problem, coefficients, direction, logits, x @ direction) * direction
        )
    return coefficients, False


def quasi_newton(gradient: Tensor, steps: list[Tensor], changes: list[Tensor]) -> Tensor:
    """Product of the approximate inverse Hessian and the gradient, [R + 1, P], by the two-loop recursion."""
    product, shares = gradient.clone(), []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        inverse = _inverse((step * change).sum(0))
        share = inverse * (step * product).sum(0)
        product -= share * change
        shares.append((share, inverse))
    if steps:
        size = (steps[-1] * changes[-1]).sum(0) * _inverse(changes[-1].square().sum(0))
        product *= torch.where(size > 0, size, 1.0)
    for step, change, (share, inverse) in zip(steps, changes, reversed(shares), strict=True):
        product += (share - inverse * (change * product).sum(0)) * step
    return product


def _inverse(value: Tensor) -> Tensor:
    """1 / value where it is positive; 0 where a step was too small to change anything."""
    return torch.where(value > 0, 1 / value, 0.0)


def line_minimum(
    problems: Problems, coefficients: Tensor, direction: Tensor, logits: Tensor, along: Tensor
) -> Tensor:
    """Step length, [P], at which each objective is smallest along its direction.

    Newton's method between bounds; the objective is convex, so the slope has one sign on each side.

    Args:
        along: Change of the logits for a length of 1, [N, P].
    """
    quadratic = problems.penalty * direction[:-1].square().sum(0)
    linear = problems.penalty * (coefficients[:-1] * direction[:-1]).sum(0)
    length = torch.ones_like(linear)
    low, high = torch.zeros_like(linear), torch.full_like(linear, torch.inf)
    for _ in range(LINE_STEPS):
        probability = torch.sigmoid(logits + length * along)
        slope = (problems.weights * (probability - problems.labels) * along).sum(0)
        slope += linear + length * quadratic
        bend = (problems.weights * probability * (1 - probability) * along.square()).sum(0) + quadratic
        low, high = torch.where(slope < 0, length, low), torch.where(slope < 0, high, length)
        step = slope * _inverse(bend)
        if (step.abs() <= 0.01 * length).all():
            break
        moved = length - step
        outside = (moved <= low) | (moved >= high)
        bounded = torch.where(torch.isinf(high), 4 * length, (low + high) / 2)
        length = torch.where(outside, bounded, moved)
    return length
