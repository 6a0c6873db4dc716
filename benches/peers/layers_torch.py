"""The layers of `evenkeel bench` as PyTorch's users write them; arguments are named as there."""

import torch
import torch.nn.functional as F

GROUPS = 32


def layer_norm(x, gain, bias):
    return {"y": F.layer_norm(x, gain.shape, gain, bias, 1e-5)}


def rms_norm(x, gain):
    return {"y": F.rms_norm(x, gain.shape, gain, 1e-6)}


def softmax(x):
    return {"y": F.softmax(x, -1)}


def add_layer_norm(x, residual, gain, bias):
    total = x + residual
    return {"y": F.layer_norm(total, gain.shape, gain, bias, 1e-5), "sum": total}


def layer_norm_gelu(x, gain, bias):
    return {"y": F.gelu(F.layer_norm(x, gain.shape, gain, bias, 1e-5))}


def gelu_tanh(x):
    return {"y": F.gelu(x, approximate="tanh")}


def gelu(x):
    return {"y": F.gelu(x)}


def silu(x):
    return {"y": F.silu(x)}


def swiglu(a, b):
    return {"y": F.silu(a) * b}


def dyt(x, alpha, gain, bias):
    return {"y": torch.tanh(alpha * x) * gain + bias}


def derf(x, alpha, gain, bias):
    return {"y": torch.erf(alpha * x) * gain + bias}


def scale_norm(x, scale):
    return {"y": scale * x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)}


def cross_entropy(x, target):
    return {"loss": F.cross_entropy(x, target)}


def group_norm_silu(x, gain, bias):
    return {"y": F.silu(F.group_norm(x, GROUPS, gain.flatten(), bias.flatten(), 1e-5))}


def batch_norm_relu(x, gain, bias):
    y = F.batch_norm(x, None, None, gain.flatten(), bias.flatten(), training=True, eps=1e-5)
    return {"y": F.relu(y)}


def instance_norm(x, gain, bias):
    return {"y": F.instance_norm(x, weight=gain.flatten(), bias=bias.flatten(), eps=1e-5)}


def evonorm_s0(x, v, gain, bias):
    groups = x.reshape(x.shape[0], GROUPS, -1)
    deviation = (groups.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    gated = (x * torch.sigmoid(v * x)).reshape(groups.shape)
    return {"y": (gated / deviation).reshape(x.shape) * gain + bias}


def evonorm_b0(x, v, gain, bias):
    batch = (x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    image = (x.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    return {"y": x / torch.maximum(batch, v * x + image) * gain + bias}
