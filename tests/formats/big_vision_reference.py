"""What big_vision computes (its models/vit.py), in float64 from the names of its arrays alone, and random models.

The class token joins after the positions.
"""

import numpy as np


def norm(p, name, x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p[f"{name}/scale"] + p[f"{name}/bias"]


def attention(p, name, queries, x):
    q, k, v = (
        np.einsum("nld,dhk->nhlk", tokens, p[f"{name}/{part}/kernel"]) + p[f"{name}/{part}/bias"][:, None]
        for part, tokens in (("query", queries), ("key", x), ("value", x))
    )
    scores = np.einsum("nhqk,nhlk->nhql", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    heads = np.einsum("nhql,nhlk->nqhk", weights / weights.sum(-1, keepdims=True), v)
    return np.einsum("nqhk,hkd->nqd", heads, p[f"{name}/out/kernel"]) + p[f"{name}/out/bias"]


def mlp(p, name, x):
    x = x @ p[f"{name}/Dense_0/kernel"] + p[f"{name}/Dense_0/bias"]
    x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x @ p[f"{name}/Dense_1/kernel"] + p[f"{name}/Dense_1/bias"]


def sincos(rows, columns, width):
    y, x = np.mgrid[:rows, :columns]
    omega = 1.0 / (10_000.0 ** (np.arange(width // 4) / (width // 4 - 1)))
    y, x = y.ravel()[:, None] * omega, x.ravel()[:, None] * omega
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)[None]


def reference(arrays, images):
    p = {name: array.astype(np.float64) for name, array in arrays.items()}
    kernel, images = p["embedding/kernel"], images.permute(0, 2, 3, 1).numpy().astype(np.float64)
    rows, columns = images.shape[1] // kernel.shape[0], images.shape[2] // kernel.shape[1]
    cut = images.reshape(len(images), rows, kernel.shape[0], columns, kernel.shape[1], -1)
    x = np.einsum("nrpcqi,pqid->nrcd", cut, kernel).reshape(len(images), rows * columns, -1) + p["embedding/bias"]
    x = x + (p["pos_embedding"] if "pos_embedding" in p else sincos(rows, columns, x.shape[-1]))
    if "cls" in p:
        x = np.concatenate([np.tile(p["cls"], (len(x), 1, 1)), x], axis=1)
    for i in range(sum(name.endswith("LayerNorm_1/bias") for name in p)):
        block = f"Transformer/encoderblock_{i}"
        y = norm(p, f"{block}/LayerNorm_0", x)
        x = x + attention(p, f"{block}/MultiHeadDotProductAttention_0", y, y)
        x = x + mlp(p, f"{block}/MlpBlock_0", norm(p, f"{block}/LayerNorm_1", x))
    x = norm(p, "Transformer/encoder_norm", x)
    if "MAPHead_0/probe" in p:
        probe = np.tile(p["MAPHead_0/probe"], (len(x), 1, 1))
        x = attention(p, "MAPHead_0/MultiHeadDotProductAttention_0", probe, x)
        x = x + mlp(p, "MAPHead_0/MlpBlock_0", norm(p, "MAPHead_0/LayerNorm_0", x))
    x = x[:, 0] if "cls" in p or "MAPHead_0/probe" in p else x.mean(axis=1)
    if "pre_logits/kernel" in p:
        x = np.tanh(x @ p["pre_logits/kernel"] + p["pre_logits/bias"])
    return x @ p["head/kernel"] + p.get("head/bias", 0) if "head/kernel" in p else x


def big_vision(pool="tok", dim=48, heads=3, hidden=96, patch=(8, 8), grid=(4, 4), depth=2, rep=0, classes=10):
    """Return the arrays of a random big_vision model, as its class names them."""
    draw = np.random.default_rng(5)

    def norm_of(name):
        return {f"{name}/scale": (dim,), f"{name}/bias": (dim,)}

    def dense(name, *shape):
        return {f"{name}/kernel": shape, f"{name}/bias": shape[-1:]}

    def attention_of(name):
        found = {f"{name}/{p}/kernel": (dim, heads, dim // heads) for p in ("query", "key", "value")}
        found |= {f"{name}/{p}/bias": (heads, dim // heads) for p in ("query", "key", "value")}
        return found | {f"{name}/out/kernel": (heads, dim // heads, dim), f"{name}/out/bias": (dim,)}

    def mlp_of(name):
        return dense(f"{name}/Dense_0", dim, hidden) | dense(f"{name}/Dense_1", hidden, dim)

    shapes = {"pos_embedding": (1, grid[0] * grid[1], dim)} | dense("embedding", *patch, 3, dim)
    shapes |= {"cls": (1, 1, dim)} if pool == "tok" else {}
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}"
        shapes |= norm_of(f"{block}/LayerNorm_0") | norm_of(f"{block}/LayerNorm_1") | mlp_of(f"{block}/MlpBlock_0")
        shapes |= attention_of(f"{block}/MultiHeadDotProductAttention_0")
    shapes |= norm_of("Transformer/encoder_norm")
    if pool == "map":
        shapes |= {"MAPHead_0/probe": (1, 1, dim)} | norm_of("MAPHead_0/LayerNorm_0") | mlp_of("MAPHead_0/MlpBlock_0")
        shapes |= attention_of("MAPHead_0/MultiHeadDotProductAttention_0")
    shapes |= dense("pre_logits", dim, rep) if rep else {}
    shapes |= dense("head", rep or dim, classes) if classes else {}
    return {name: (draw.standard_normal(shape) * 0.2).astype(np.float32) for name, shape in shapes.items()}
