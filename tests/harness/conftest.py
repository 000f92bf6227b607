"""One thread: the embedded model is too small to share, and a second thread only waits."""

import torch

torch.set_num_threads(1)
