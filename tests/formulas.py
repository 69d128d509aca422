"""The published networks by their formulas, in numpy, one window at a time.

Each takes a window (n_channels, n_times), the weights by name, and gives logits (n_outputs,).
"""

from itertools import count

import numpy as np
from scipy.special import erf


def conv(x, weight, bias=None, pad=(0, 0), stride=1, dilation=1):
    """Cross-correlate (n_in, n_times) with kernels (n_out, n_in, length)."""
    x = np.pad(x, ((0, 0), pad))
    n = (x.shape[1] - (weight.shape[2] - 1) * dilation - 1) // stride + 1
    taps = [x[:, k * dilation :][:, : (n - 1) * stride + 1 : stride] for k in range(weight.shape[2])]
    y = sum(weight[:, :, k] @ tap for k, tap in enumerate(taps))
    return y if bias is None else y + bias[:, None]


def norm(x, w, name, eps=1e-5):
    """Batch norm of the first axis by the running statistics."""
    mean, var, scale, offset = (
        w[f"{name}.{key}"][:, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + eps) * scale + offset


def pool(x, size, stride, how):
    """Pool (n, n_times) without padding."""
    n = (x.shape[1] - size) // stride + 1
    return np.stack([how(x[:, k * stride : k * stride + size], axis=1) for k in range(n)], axis=1)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def dense(features, w):
    return w["fc.weight"] @ features.reshape(-1) + w["fc.bias"]


def varcnn(x, w):
    latent = conv(x, w["demix.weight"], w["demix.bias"])
    filtered = conv(latent, w["temporal.weight"], w["temporal.bias"], pad=(3, 3))
    return dense(pool(np.maximum(filtered, 0), 2, 2, np.max), w)


def eegnet(x, w, padding="same", how=np.mean):
    def half(weight):
        return (weight.shape[-1] // 2,) * 2 if padding == "same" else (0, 0)

    kernels = w["temporal.weight"][:, :, 0]
    filtered = [norm(conv(row[None], kernels, pad=half(kernels)), w, "norm_temporal", 1e-3) for row in x]
    mixing = w["spatial.weight"][:, 0, :, 0]
    d = len(mixing) // len(kernels)
    spatial = np.stack([sum(m[c] * y[k // d] for c, y in enumerate(filtered)) for k, m in enumerate(mixing)])
    y = pool(elu(norm(spatial, w, "norm1", 1e-3)), 4, 4, how)
    depth = w["depth.weight"][:, :, 0]
    y = np.concatenate([conv(row[None], kernel[None], pad=half(depth)) for row, kernel in zip(y, depth, strict=True)])
    y = norm(w["point.weight"][:, :, 0, 0] @ y, w, "norm2", 1e-3)
    return dense(pool(elu(y), 8, 8, how), w)


def time_and_space(x, w):
    kernels, mixing = w["temporal.weight"][:, :, :, 0], w["spatial.weight"][:, :, 0]
    filtered = [conv(row[None], kernels, w["temporal.bias"]) for row in x]
    y = sum(mixing[:, :, c] @ y for c, y in enumerate(filtered))
    return norm(y, w, "norm") if "norm.weight" in w else y + w["spatial.bias"][:, None]


def shallow(x, w, activation=np.square, how=np.mean, size=75):
    return dense(np.log(np.maximum(pool(activation(time_and_space(x, w)), size, 15, how), 1e-6)), w)


def deep4(x, w, how=np.max):
    y = pool(elu(time_and_space(x, w)), 3, 3, how)
    for k in range(3):
        y = norm(conv(y, w[f"blocks.{k}.1.weight"]), w, f"blocks.{k}.2")
        y = pool(elu(y), 3, 3, how)
    return dense(y, w)


def fblightconvnet(x, w, segment=100):
    y = elu(norm(conv(x, w["spatial.weight"], w["spatial.bias"]), w, "norm"))
    power = np.log(np.clip([row.reshape(-1, segment).var(axis=1, ddof=1) for row in y], 1e-6, 1e6))
    heads = softmax(w["attention"], axis=1)
    return dense(np.array([heads[f % len(heads)] @ row for f, row in enumerate(power)]), w)


def brainmodule(x, w, dilations=(1, 2, 4, 8), glu=2, skip=True):
    def same(weight, dilation=1):
        reach = (weight.shape[2] - 1) * dilation
        return reach // 2, reach - reach // 2

    y = conv(x, w["projection.weight"], w["projection.bias"])
    for k, dilation in zip(count(), dilations, strict=False):
        kernels, beside = w[f"encoder.blocks.{k}.0.weight"], f"encoder.skips.{k}"
        new = conv(y, kernels, w[f"encoder.blocks.{k}.0.bias"], same(kernels, dilation), dilation=dilation)
        new = gelu(norm(new, w, f"encoder.blocks.{k}.1") if f"encoder.blocks.{k}.1.weight" in w else new)
        if f"{beside}.weight" in w:
            y = conv(y, w[f"{beside}.weight"], w[f"{beside}.bias"])
        y = y + new if skip else new
        if glu and (k + 1) % glu == 0:
            gates = w[f"encoder.glus.{k}.weight"]
            value, gate = np.split(conv(y, gates, w[f"encoder.glus.{k}.bias"], same(gates)), 2)
            y = value / (1 + np.exp(-gate))
    return dense(y.mean(axis=1), w)
