"""What all tests share: the repository's root is importable, as `tests.contract.app` is what servers load."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent.parent)

if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
