"""The training steps of `evenkeel bench` in JAX; parameters are a dictionary with the same names."""

import jax
import jax.numpy as jnp

from layers_jax import cross_entropy, standardize

HEADS = 4
BLOCKS = 4


def linear(parameters, name, x):
    return x @ parameters[f"{name}.weight"].T + parameters[f"{name}.bias"]


def norm(parameters, name, x):
    return standardize(x, -1) * parameters[f"{name}.gain"] + parameters[f"{name}.bias"]


def gelu(x):
    return jax.nn.gelu(x, approximate=False)


def mlp(parameters, x, y):
    for layer in ("hidden.0", "hidden.1"):
        x = gelu(norm(parameters, f"{layer}.1", linear(parameters, f"{layer}.0", x)))
    return cross_entropy(linear(parameters, "out", x), y)["loss"]


def attention(parameters, block, x):
    rows, tokens, width = x.shape
    parts = (linear(parameters, f"{block}.{part}", x).reshape(rows, tokens, HEADS, -1)
             for part in ("query", "key", "value"))
    mixed = jax.nn.dot_product_attention(*parts, is_causal=True)
    return linear(parameters, f"{block}.out", mixed.reshape(rows, tokens, width))


def gpt(parameters, x, y):
    x = parameters["token.weight"][x] + parameters["position.weight"]
    for block in (f"blocks.{number}" for number in range(BLOCKS)):
        x = x + attention(parameters, block, norm(parameters, f"{block}.attention_norm", x))
        hidden = gelu(linear(parameters, f"{block}.up", norm(parameters, f"{block}.norm", x)))
        x = x + linear(parameters, f"{block}.down", hidden)
    logits = linear(parameters, "head", norm(parameters, "norm", x))
    return cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))["loss"]


LOSSES = {"mlp": mlp, "gpt": gpt}


def adamw(loss, rate=1e-3, betas=(0.9, 0.999), eps=1e-8, decay=0.01):
    """A step from (parameters, averages, averages of squares, steps taken) to the next and the loss."""
    def step(state, x, y):
        parameters, first, second, taken = state
        value, gradients = jax.value_and_grad(loss)(parameters, x, y)
        taken = taken + 1
        first = jax.tree.map(lambda m, g: betas[0] * m + (1 - betas[0]) * g, first, gradients)
        second = jax.tree.map(lambda v, g: betas[1] * v + (1 - betas[1]) * g * g, second, gradients)

        def update(parameter, m, v):
            direction = m / (1 - betas[0] ** taken) / (jnp.sqrt(v / (1 - betas[1] ** taken)) + eps)
            return parameter - rate * (direction + decay * parameter)

        return (jax.tree.map(update, parameters, first, second), first, second, taken), value

    return jax.jit(step, donate_argnums=0)
