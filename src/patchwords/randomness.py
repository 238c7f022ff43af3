"""Counter-based random numbers: every draw is a function of (seed, place of use, counters), with no state.

The generator is Philox 4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011), whole arrays at a time. Because nothing is remembered between draws, the number
of workers, prefetching, restarts and the number of processes cannot change one.
"""

from __future__ import annotations

import zlib

import numpy as np

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Return Philox4x32-10 of each row of `counter`.

    Args:
        counter: (n, 4) unsigned integers below 2**32.
        key: two unsigned integers below 2**32.

    Returns:
        (n, 4) uint32.
    """
    x0, x1, x2, x3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(10):
        left, right = x0 * _MULTIPLIERS[0], x2 * _MULTIPLIERS[1]
        x0, x1, x2, x3 = (
            (right >> _SHIFT) ^ x1 ^ np.uint64(k0),
            right & _LOW,
            (left >> _SHIFT) ^ x3 ^ np.uint64(k1),
            left & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], axis=1).astype(np.uint32)


def bits(seed: int, site: str, epoch: np.ndarray | int, ids: np.ndarray | int, count: int = 1) -> np.ndarray:
    """Return (n, count) uint32 drawn for each of `ids` at the place of use `site`.

    Args:
        seed: of the run, 0 .. 2**32 - 1.
        site: name of the place of use, such as "flip"; different names give independent draws.
        epoch: or step: the outer counter, one for all or (n,) one each.
        ids: (n,) sample ids, or the inner counter.
        count: draws for each id.
    """
    ids = np.atleast_1d(np.asarray(ids, dtype=np.uint64))
    blocks = -(-count // 4)
    counter = np.empty((len(ids), blocks, 4), dtype=np.uint64)
    counter[..., 0] = np.arange(blocks, dtype=np.uint64)
    counter[..., 1] = np.atleast_1d(np.asarray(epoch, dtype=np.uint64) & _LOW)[:, None]
    counter[..., 2] = (ids & _LOW)[:, None]
    counter[..., 3] = (ids >> _SHIFT)[:, None]
    key = (seed & 0xFFFFFFFF, zlib.crc32(site.encode()))
    return philox(counter.reshape(-1, 4), key).reshape(len(ids), blocks * 4)[:, :count]


def uniform(seed: int, site: str, epoch: np.ndarray | int, ids: np.ndarray | int, count: int = 1) -> np.ndarray:
    """Return (n, count) float64 in [0, 1), 32 random bits each; arguments as in `bits`."""
    return bits(seed, site, epoch, ids, count) * 2.0**-32


def derived_seed(seed: int, site: str, *counters: int) -> int:
    """Return a 63-bit seed for a library generator, a function of (seed, site, up to two counters)."""
    epoch, inner = (*counters, 0, 0)[:2]
    high, low = bits(seed, site, epoch, inner, 2)[0].tolist()
    return ((high << 32) | low) & 0x7FFFFFFFFFFFFFFF


def permutation(seed: int, site: str, epoch: int, length: int) -> np.ndarray:
    """Return a permutation of 0 .. length - 1 as int64, a function of (seed, site, epoch)."""
    draws = bits(seed, site, epoch, np.arange(length), 2).astype(np.uint64)
    return np.argsort((draws[:, 0] << _SHIFT) | draws[:, 1], kind="stable")
