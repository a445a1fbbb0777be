"""Wrappers around losses: those of pytorch-metric-learning, opened to every loss that can use them, and mended."""

from pml_proxyext.wrappers.capability import supports_ref_emb
from pml_proxyext.wrappers.chunked_proxies import ChunkedProxies
from pml_proxyext.wrappers.cross_batch_memory import CrossBatchMemory
from pml_proxyext.wrappers.cross_modal_memory import CrossModalMemory
from pml_proxyext.wrappers.distributed_loss_wrapper import DistributedLossWrapper
from pml_proxyext.wrappers.self_supervised_loss import SelfSupervisedLoss
from pml_proxyext.wrappers.shard_files import load_shards, load_whole, save_shards
from pml_proxyext.wrappers.sharded_proxies import ShardedProxies

__all__ = [
    "ChunkedProxies",
    "CrossBatchMemory",
    "CrossModalMemory",
    "DistributedLossWrapper",
    "SelfSupervisedLoss",
    "ShardedProxies",
    "load_shards",
    "load_whole",
    "save_shards",
    "supports_ref_emb",
]
