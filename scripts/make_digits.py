"""Make src/patchwords/data/digits.npz: the 1,797 handwritten digits that scikit-learn carries, as 8x8 values 0..16.

Run from the repository root, with scikit-learn installed: python scripts/make_digits.py
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parents[1] / "src" / "patchwords" / "data" / "digits.npz"


def main() -> None:
    digits = load_digits()
    arrays = {"values": digits.images.astype(np.uint8), "labels": digits.target.astype(np.uint8)}
    assert (arrays["values"] == digits.images).all() and arrays["values"].max() == 16
    with zipfile.ZipFile(TARGET, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy")  # with a fixed date: the same bytes each time
            archive.writestr(member, buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)
    print(f"{TARGET}: {len(arrays['labels'])} pictures, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
