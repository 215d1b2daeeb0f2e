"""What every test shares: no GPU, no progress bars, no writing into a student's own folders."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

os.environ.setdefault("DCAR_HOME", str(ROOT / "build" / "home"))
os.environ.setdefault("DCAR_BUDGET", "smoke")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
