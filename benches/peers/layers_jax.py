"""The layers of `evenkeel bench` as JAX's users write them; arguments are named as there."""

import jax
import jax.numpy as jnp

GROUPS = 32


def standardize(x, axes, eps=1e-5):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.square(x - mean).mean(axes, keepdims=True) + eps)


def layer_norm(x, gain, bias):
    return {"y": standardize(x, -1) * gain + bias}


def rms_norm(x, gain):
    return {"y": x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6) * gain}


def softmax(x):
    return {"y": jax.nn.softmax(x, -1)}


def add_layer_norm(x, residual, gain, bias):
    total = x + residual
    return {"y": standardize(total, -1) * gain + bias, "sum": total}


def layer_norm_gelu(x, gain, bias):
    return {"y": jax.nn.gelu(standardize(x, -1) * gain + bias, approximate=False)}


def gelu_tanh(x):
    return {"y": jax.nn.gelu(x, approximate=True)}


def gelu(x):
    return {"y": jax.nn.gelu(x, approximate=False)}


def silu(x):
    return {"y": jax.nn.silu(x)}


def swiglu(a, b):
    return {"y": jax.nn.silu(a) * b}


def dyt(x, alpha, gain, bias):
    return {"y": jnp.tanh(alpha * x) * gain + bias}


def derf(x, alpha, gain, bias):
    return {"y": jax.lax.erf(alpha * x) * gain + bias}


def scale_norm(x, scale):
    return {"y": scale * x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6)}


def cross_entropy(x, target):
    chosen = jnp.take_along_axis(jax.nn.log_softmax(x, -1), target[:, None], -1)
    return {"loss": -chosen.mean()}


def group_norm_silu(x, gain, bias):
    groups = x.reshape(x.shape[0], GROUPS, -1)
    return {"y": jax.nn.silu(standardize(groups, -1).reshape(x.shape) * gain + bias)}


def batch_norm_relu(x, gain, bias):
    return {"y": jax.nn.relu(standardize(x, (0, 2, 3)) * gain + bias)}


def instance_norm(x, gain, bias):
    return {"y": standardize(x, (2, 3)) * gain + bias}


def evonorm_s0(x, v, gain, bias):
    groups = x.reshape(x.shape[0], GROUPS, -1)
    deviation = jnp.sqrt(groups.var(-1, keepdims=True) + 1e-5)
    gated = (x * jax.nn.sigmoid(v * x)).reshape(groups.shape)
    return {"y": (gated / deviation).reshape(x.shape) * gain + bias}


def evonorm_b0(x, v, gain, bias):
    batch = jnp.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
    image = jnp.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    return {"y": x / jnp.maximum(batch, v * x + image) * gain + bias}
