"""The optimizers from their papers and reference programs, for one array, in float64.

Each takes the array, its gradients, the rates of the updates and the decay, and returns the array after each update.
"""

import numpy as np


def sgd(weights, grads, rates, weight_decay, *, decayed, momentum, nesterov, decoupled):
    """PyTorch's SGD; if decoupled, Loshchilov and Hutter 2019, algorithm 1, with the decay scaled by the rate."""
    velocity, after = 0.0, []
    decay = weight_decay * decayed
    for grad, lr in zip(grads, rates, strict=True):
        whole = grad if decoupled else grad + decay * weights
        velocity = momentum * velocity + whole
        step = whole + momentum * velocity if nesterov else velocity
        weights = weights - lr * (step + decay * weights if decoupled else step)
        after.append(weights)
    return after


def lars(weights, grads, rates, weight_decay, *, decayed, momentum, nesterov, trust):
    """You et al. 2017, algorithm 1, with the norm of gradient plus decay in the denominator."""
    velocity, after = 0.0, []
    for grad, lr in zip(grads, rates, strict=True):
        whole, quotient = grad, 1.0
        if decayed:
            whole = grad + weight_decay * weights
            quotient = trust * np.sqrt(np.sum(weights**2)) / np.sqrt(np.sum(whole**2))
        step = lr * quotient * whole
        velocity = momentum * velocity + step
        weights = weights - (step + momentum * velocity if nesterov else velocity)
        after.append(weights)
    return after


def adamw(weights, grads, rates, weight_decay, *, decayed, beta1, beta2, epsilon):
    """PyTorch's AdamW."""
    after = []
    for direction, lr in zip(_adam(grads, beta1, beta2, epsilon), rates, strict=True):
        weights = weights * (1 - lr * weight_decay * decayed) - lr * direction
        after.append(weights)
    return after


def lamb(weights, grads, rates, weight_decay, *, decayed, beta1, beta2, epsilon):
    """timm's Lamb; the trust ratio of arrays that are not decayed is 1."""
    after = []
    for direction, lr in zip(_adam(grads, beta1, beta2, epsilon), rates, strict=True):
        step, quotient = direction, 1.0
        if decayed:
            step = direction + weight_decay * weights
            quotient = np.sqrt(np.sum(weights**2)) / np.sqrt(np.sum(step**2))
        weights = weights - lr * quotient * step
        after.append(weights)
    return after


def _adam(grads, beta1, beta2, epsilon):
    mean = mean_square = 0.0
    for count, grad in enumerate(grads, start=1):
        mean = beta1 * mean + (1 - beta1) * grad
        mean_square = beta2 * mean_square + (1 - beta2) * grad**2
        yield mean / (1 - beta1**count) / (np.sqrt(mean_square) / np.sqrt(1 - beta2**count) + epsilon)
